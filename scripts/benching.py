"""What scripts/bench-endpoints and scripts/bench-node-red share: servers on free ports, and how they are measured."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
PROJECT = "readings"


def built(name, given=None, profiles=("release",)) -> pathlib.Path:
    """A binary of this workspace: the given one, or the newest of these profiles."""
    found = [pathlib.Path(given)] if given else [TARGET / profile / name for profile in profiles]
    found = [binary for binary in found if binary.exists()]
    if not found:
        sys.exit(f"there is no {name}; run: cargo build --release -p w3bstream-bin -p w3bstream-benches")
    return max(found, key=lambda binary: binary.stat().st_mtime)


def run(*command, timeout=300):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=timeout)
    if done.returncode:
        sys.exit(f"{' '.join(str(c) for c in command)}:\n{done.stdout}{done.stderr}")
    return done.stdout


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(what, is_true, seconds=60, alive=lambda: True):
    until = time.monotonic() + seconds
    while not is_true():
        if not alive() or time.monotonic() > until:
            sys.exit(f"{what} does not come")
        time.sleep(0.05)


class Server:
    """A process that is ended with the script."""

    def __init__(self, name, command, folder, environment=None):
        self.log = folder / f"{name}.log"
        out = self.log.open("w")
        command = [str(c) for c in command]
        self.process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **(environment or {})})
        out.close()

    def alive(self):
        return self.process.poll() is None

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def accepts(port) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


class Mosquitto(Server):
    """Debian's, as it is installed, but for a port of its own and a report of its counters each second. No message is
    dropped because a subscriber is slow, and none is kept on disk."""

    def __init__(self, folder):
        exe = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        if not pathlib.Path(exe).exists():
            sys.exit("mosquitto is missing; run: apt-get install mosquitto")
        self.port = free_port()
        settings = folder / "mosquitto.conf"
        settings.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
                            "sys_interval 1\nmax_queued_messages 0\nlog_type error\n")
        super().__init__("mosquitto", [exe, "-c", settings], folder)
        wait_for("mosquitto", lambda: accepts(self.port), alive=self.alive)
        self.url = f"mqtt://127.0.0.1:{self.port}"


class Bare(Server):
    """axum and tonic alone."""

    def __init__(self, benches, folder):
        super().__init__("bare", [benches, "bare", "127.0.0.1:0"], folder)
        wait_for("bare axum", lambda: self.log.read_text().endswith("\n"), alive=self.alive)
        self.url = self.log.read_text().strip()


class Node(Server):
    """A node with the project of the comparisons, whose handler writes each reading into the state."""

    def __init__(self, exe, benches, folder):
        self.exe, self.dir, self.keys = exe, folder / "node", folder / "keys"
        self.keys.mkdir()
        run(exe, "init", "--dir", self.dir)
        settings = {"W3BSTREAM_GRPC__ENABLED": "true", "W3BSTREAM_GRPC__LISTEN": "127.0.0.1:0"}
        ports = [f"--{name}=127.0.0.1:0" for name in ("http", "mqtt", "admin")]
        super().__init__("node", [exe, "run", "--dir", self.dir, *ports], folder, settings)
        running = self.dir / "running.json"
        wait_for("the node", lambda: running.exists() and running.read_text().strip(), alive=self.alive)
        run(benches, "readings", folder / PROJECT)
        run(exe, "project", "deploy", "--dir", self.dir, folder / PROJECT)

    def status(self):
        return json.loads(run(self.exe, "project", "status", "--json", "--dir", self.dir, PROJECT))

    def rest(self):
        """Waits until everything that is stored is executed and attested."""
        def at_rest():
            status = self.status()
            if status["state"] == "Halted":
                sys.exit(f"the project is halted: {status['reason']}")
            return not status["counters"]["w3b_backlog_messages"] and status["height"] == status["attested"]
        wait_for("the node's rest", at_rest, seconds=120, alive=self.alive)

    def ingest(self, *options):
        """One measurement, of a node at rest."""
        self.rest()
        command = [self.exe, "bench", "ingest", "--json", "--dir", self.dir, "--project", PROJECT, "--keys", self.keys]
        return json.loads(run(*command, *options))


def side(figures) -> str:
    """One side of a row."""
    text = f"{figures['messages_per_second']:,.0f}/s"
    if figures["p50_ms"] is not None:
        text += f", p50 {figures['p50_ms']:.1f} ms, p99 {figures['p99_ms']:.1f} ms, most {figures['max_ms']:.0f} ms"
    if figures["lost"]:
        text += f", {figures['lost']:,} of {figures['lost'] + figures['messages']:,} lost"
    return text
