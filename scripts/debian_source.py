"""Source packages of this Debian or Ubuntu, for test suites that come with them."""

import pathlib
import re
import subprocess
import sys
import tarfile


def quietly(*command, **more):
    """Runs a command that says nothing unless it fails, and gives what it printed."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {done.stderr[-2000:]}")
    return done.stdout


def newest(folder, pattern):
    found = sorted(folder.glob(pattern))
    return found[-1] if found else None


def sources(apt):
    """The machine's own package sources, but of sources, in the folder `apt`; options that use them alone."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (apt / folder).mkdir(parents=True, exist_ok=True)
    etc = pathlib.Path("/etc/apt")
    for file in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]:
        if file.exists() and file.suffix in (".list", ".sources"):
            text = re.sub(r"(?m)^(Types:\s*)?deb(?=\s|$)", lambda m: (m[1] or "") + "deb-src", file.read_text())
            (apt / file.name).write_text(text)
    return ["-o=Dir::Etc::sourcelist=-", f"-o=Dir::Etc::sourceparts={apt}", f"-o=Dir::State::lists={apt / 'lists'}",
            f"-o=Dir::Cache={apt / 'cache'}"]


def folder(package, cache, pattern, wanted=lambda name: True):
    """What `pattern` names in the sources of `package`, of which the members that are `wanted` are unpacked in `cache`."""
    if not newest(cache, pattern):
        options = sources(cache / "apt")
        quietly("apt-get", *options, "update", timeout=300)
        quietly("apt-get", *options, "source", "--download-only", "--tar-only", package, cwd=cache, timeout=500)
        with tarfile.open(newest(cache, f"{package}_*.orig.tar.*")) as tar:
            tar.extractall(cache, [member for member in tar if wanted(member.name)], filter="data")
    return newest(cache, pattern)
