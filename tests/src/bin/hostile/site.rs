//! The node under attack: a process of its own, with every listener switched on, and its devices.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio_rustls::TlsConnector;
use w3bstream_node::{Admin, ManifestFile, Paths, Running};
use w3bstream_types::{
    AckMode, Algorithm, Control, DeviceRegistration, Did, Draft, EventType, ProjectId, SecretKey, Sequence,
    Timestamp,
};
use w3bstream_wallet::Role;
use w3bstream_wallet_file::DeviceKey;

use crate::net::{BoxedIo, Carrier, Line, address_of, dial, secure, source, tls};

pub(crate) const PROJECT: &str = "cold-chain";
/// The project's sources, from the root of the repository, where `scripts/test-hostile` starts this program.
const EXAMPLE: &str = "examples/cold-chain";
/// Where devices post messages.
pub(crate) const EVENTS: &str = "/v1/projects/cold-chain/events";

/// Every listener on a free port of loopback. The caps are above what the campaign holds; what is left away is the default.
const SETTINGS: &str = r#"
[http]
listen = "127.0.0.1:0"
tls-listen = "127.0.0.1:0"
[mqtt]
listen = "127.0.0.1:0"
tls-listen = "127.0.0.1:0"
ws-listen = "127.0.0.1:0"
wss-listen = "127.0.0.1:0"
max-connections = 12000
open-topics = ["site/#"]
[grpc]
enabled = true
listen = "127.0.0.1:0"
[coap]
enabled = true
listen = "127.0.0.1:0"
[legacy]
enabled = true
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[tls]
certificate = "tls.crt"
key = "tls.key"
[log]
filter = "warn"
"#;

/// A running node. Dropping it ends the process.
pub(crate) struct Site {
    process: Mutex<Child>,
    pid: u32,
    dir: tempfile::TempDir,
    pub(crate) running: Running,
    pub(crate) admin: Admin,
    pub(crate) token: String,
    owner: SecretKey,
    pub(crate) project: ProjectId,
    pub(crate) tls: TlsConnector,
}

/// A device and what it has sent.
pub(crate) struct Device {
    key: DeviceKey,
    project: ProjectId,
    next: u32,
}

impl Device {
    /// Its DID.
    pub(crate) fn did(&self) -> String {
        self.key.did().to_string()
    }

    /// The next message, signed and encoded.
    pub(crate) fn message(&mut self) -> anyhow::Result<Vec<u8>> {
        let event_type: EventType = "reading".parse()?;
        let hour = 1_262_304_000_000 + u64::from(self.next) * 3_600_000;
        let payload = format!(r#"{{"device":"truck-1","t":{hour},"c":{}}}"#, self.next % 20 * 1000);
        let draft = Draft {
            audience: self.project,
            key: self.key.key_id(),
            event_type,
            sequence: Sequence::new(0, self.next),
            time: Timestamp(hour),
            payload: payload.into_bytes(),
        };
        self.next += 1;
        Ok(w3bstream_wire::encode_envelope(&draft.sign_envelope([0; 16], self.key.secret())))
    }
}

impl Site {
    /// Makes a node with the binary and with these settings besides, starts it and deploys the cold-chain project.
    pub(crate) async fn start(binary: &Path, more: &str) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let home = dir.path().join("node");
        let mut init = Command::new(binary);
        init.args(["init", "--json", "--public", "--name", "localhost", "--dir"]).arg(&home);
        let made = init.output()?;
        if !made.status.success() {
            bail!("init: {}", String::from_utf8_lossy(&made.stderr));
        }
        let made: serde_json::Value = serde_json::from_slice(&made.stdout)?;
        let token = made["admin_token"].as_str().context("init gives no token")?.to_owned();
        std::fs::write(home.join("node.toml"), [SETTINGS, more].concat())?;
        let paths = Paths::new(home);
        let log = std::fs::File::create(dir.path().join("node.log"))?;
        let mut run = Command::new(binary);
        run.args(["run", "--dir"]).arg(paths.dir());
        run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = run.spawn()?;
        let (pid, tls) = (process.id(), tls(&paths.dir().join("tls.crt"), true)?);
        let process = Ending(Some(process));
        let running = wait(&paths, dir.path()).await?;
        let owner = w3bstream_node::open_wallet(&paths, None)?.secret(Role::Owner)?.clone();
        let admin = Admin::new(running.admin.clone(), token.clone());
        let project = deploy(&admin, &owner).await?;
        let process = Mutex::new(process.keep()?);
        Ok(Self { process, pid, dir, running, admin, token, owner, project, tls })
    }

    /// Registers a new device.
    pub(crate) async fn device(&self) -> anyhow::Result<Device> {
        let key = DeviceKey::generate(Algorithm::EdDSA)?;
        let (device, public) = (key.did(), key.public());
        let change = Control::RegisterDevice(DeviceRegistration { device, key: public, event_types: vec![] });
        self.admin.change(&PROJECT.parse()?, change, &self.owner).await?;
        Ok(Device { key, project: self.project, next: 0 })
    }

    /// Registers so many new devices.
    pub(crate) async fn devices(&self, count: usize) -> anyhow::Result<Vec<Device>> {
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(self.device().await?);
        }
        Ok(all)
    }

    /// Where a listener is.
    pub(crate) fn at(&self, name: &str) -> anyhow::Result<SocketAddr> {
        let r = &self.running;
        let url = match name {
            "http" => Some(&r.http),
            "admin" => Some(&r.admin),
            "https" => r.https.as_ref(),
            "mqtt" => r.mqtt.as_ref(),
            "mqtts" => r.mqtts.as_ref(),
            "ws" => r.ws.as_ref(),
            "wss" => r.wss.as_ref(),
            "grpc" => r.grpc.as_ref(),
            "coap" => r.coap.as_ref(),
            "legacy" => r.legacy.as_ref(),
            _ => None,
        };
        address_of(url.with_context(|| format!("the node has no {name} listener"))?)
    }

    /// A connection to a listener, with TLS where it speaks TLS.
    pub(crate) async fn dial(&self, name: &str, n: usize) -> anyhow::Result<BoxedIo> {
        let stream = dial(self.at(name)?, source(n)).await?;
        Ok(match name {
            "https" | "mqtts" | "wss" => Box::new(secure(&self.tls, stream).await?),
            _ => Box::new(stream),
        })
    }

    /// A line for MQTT over a carrier.
    pub(crate) async fn line(&self, carrier: Carrier, n: usize) -> anyhow::Result<Line> {
        let (name, framed) = match carrier {
            Carrier::Tcp => ("mqtt", false),
            Carrier::Tls => ("mqtts", false),
            Carrier::Ws => ("ws", true),
            Carrier::Wss => ("wss", true),
        };
        Line::open(self.dial(name, n).await?, framed).await
    }

    /// The file with the node's certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.dir.path().join("node").join("tls.crt")
    }

    /// Resident memory of the node, in KiB.
    pub(crate) fn memory(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
    }

    /// An error if the node has ended or one of its tasks has panicked.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if let Some(status) = lock(&self.process).try_wait()? {
            bail!("the node ended: {status}\n{}", self.log());
        }
        let log = self.log();
        if log.contains("panicked") {
            bail!("a part of the node panicked\n{log}");
        }
        Ok(())
    }

    /// The end of what the node has logged.
    pub(crate) fn log(&self) -> String {
        let text = std::fs::read_to_string(self.dir.path().join("node.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n")
    }

    /// How many different messages of the project the node has stored, and how many of them wait.
    pub(crate) async fn stored(&self) -> anyhow::Result<(u64, u64)> {
        let project = self.admin.get(&format!("/v1/projects/{PROJECT}")).await?;
        let counters = &project["counters"];
        let backlog = counters["w3b_backlog_messages"].as_u64().context("no backlog")?;
        let stored = counters["w3b_messages_accepted_total"].as_u64();
        let stored = stored.with_context(|| format!("no count of stored messages in {counters}"))?;
        Ok((stored, backlog))
    }

    /// Asks the node to end as a service manager does; it must end well.
    pub(crate) fn terminate(&self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        Command::new("kill").args(["-TERM", &self.pid.to_string()]).status()?;
        loop {
            if let Some(status) = lock(&self.process).try_wait()? {
                if status.success() {
                    return Ok(begun.elapsed());
                }
                bail!("the node did not end well: {status}\n{}", self.log());
            }
            if begun.elapsed() > Duration::from_secs(60) {
                bail!("the node does not end");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn lock(process: &Mutex<Child>) -> std::sync::MutexGuard<'_, Child> {
    process.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Drop for Site {
    fn drop(&mut self) {
        let mut process = lock(&self.process);
        drop(process.kill());
        drop(process.wait());
    }
}

/// Ends a process if what follows fails.
struct Ending(Option<Child>);

impl Ending {
    fn keep(mut self) -> anyhow::Result<Child> {
        self.0.take().context("no process")
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(process) = &mut self.0 {
            drop(process.kill());
            drop(process.wait());
        }
    }
}

async fn wait(paths: &Paths, dir: &Path) -> anyhow::Result<Running> {
    for _ in 0..600 {
        if let Ok(text) = std::fs::read_to_string(paths.running())
            && let Ok(running) = serde_json::from_str(&text)
        {
            return Ok(running);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("the node does not start\n{}", std::fs::read_to_string(dir.join("node.log")).unwrap_or_default())
}

async fn deploy(admin: &Admin, owner: &SecretKey) -> anyhow::Result<ProjectId> {
    let mut loaded = ManifestFile::load(Path::new(EXAMPLE), &Did::key(&owner.public()))
        .context("start this program at the root of the repository, as scripts/test-hostile does")?;
    // Latencies are those of durable messages: what a handler takes is not asked here.
    loaded.manifest.ack = AckMode::Durable;
    for module in loaded.modules.into_values() {
        admin.put_program(module).await?;
    }
    let (name, id) = (loaded.manifest.name.clone(), loaded.manifest.project());
    admin.change(&name, Control::Deploy(Box::new(loaded.manifest)), owner).await?;
    Ok(id)
}
