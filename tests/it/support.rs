//! A node in a process of its own, and devices that send until they are acknowledged.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hyper::{Method, StatusCode, header};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use w3bstream_node::{Admin, Config, Http, ManifestFile, Paths, Running};
use w3bstream_types::{
    Algorithm, Control, DeviceRegistration, Did, Draft, Envelope, Form, MessageId, ProjectId, Record,
    SecretKey, Sequence, Timestamp,
};
use w3bstream_wallet::Role;
use w3bstream_wallet_file::DeviceKey;

/// The binary under test: the crash node of this build, or the one that the environment names.
pub(crate) fn binary() -> PathBuf {
    #[allow(clippy::disallowed_methods, reason = "lets CI test a release build")]
    std::env::var_os("W3B_CRASH_NODE").map_or_else(|| env!("CARGO_BIN_EXE_crash-node").into(), Into::into)
}

/// A node's data folder and its owner.
pub(crate) struct Home {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) owner: SecretKey,
    token: String,
}

impl Home {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let made = w3bstream_node::init(&Paths::new(dir.path().join("node")), &Config::default(), None)?;
        let owner = made.wallet.secret(Role::Owner)?.clone();
        Ok(Self { dir, owner, token: made.admin_token })
    }

    /// A folder that `make` makes; it gives the admin token.
    pub(crate) fn made_by(make: impl FnOnce(&Path) -> String) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let token = make(&dir.path().join("node"));
        let wallet = w3bstream_node::open_wallet(&Paths::new(dir.path().join("node")), None)?;
        let owner = wallet.secret(Role::Owner)?.clone();
        Ok(Self { dir, owner, token })
    }

    pub(crate) fn node_dir(&self) -> PathBuf {
        self.dir.path().join("node")
    }

    /// Starts the node on free ports and waits until it answers.
    pub(crate) async fn start(&self, env: &[(&str, String)]) -> anyhow::Result<Process> {
        let running_file = Paths::new(self.node_dir()).running();
        drop(std::fs::remove_file(&running_file));
        let log =
            std::fs::File::options().create(true).append(true).open(self.dir.path().join("node.log"))?;
        let mut command = Command::new(binary());
        command.args(["run", "--dir"]).arg(self.node_dir());
        command.args(["--http=127.0.0.1:0", "--mqtt=127.0.0.1:0", "--admin=127.0.0.1:0"]);
        command.envs(env.iter().map(|(k, v)| (k, v))).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut child = Guarded(command.spawn()?);
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if let Ok(text) = std::fs::read_to_string(&running_file)
                && let Ok(running) = serde_json::from_str::<Running>(&text)
            {
                let admin = Admin::new(running.admin.clone(), self.token.clone());
                return Ok(Process { child, running, admin });
            }
            if let Some(status) = child.0.try_wait()? {
                bail!("the node ended at once: {status}\n{}", self.log());
            }
            if Instant::now() > until {
                bail!("the node does not start\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("node.log")).unwrap_or_default()
    }

    /// Deploys the cold-chain project.
    pub(crate) async fn deploy(&self, admin: &Admin) -> anyhow::Result<ProjectId> {
        let path = Path::new("../examples/cold-chain");
        let mut loaded = ManifestFile::load(path, &Did::key(&self.owner.public()))?;
        loaded.manifest.ack = w3bstream_types::AckMode::Durable;
        for module in loaded.modules.into_values() {
            admin.put_program(module).await?;
        }
        let (name, id) = (loaded.manifest.name.clone(), loaded.manifest.project());
        admin.change(&name, Control::Deploy(Box::new(loaded.manifest)), &self.owner).await?;
        Ok(id)
    }

    pub(crate) async fn register(&self, admin: &Admin, key: &DeviceKey) -> anyhow::Result<()> {
        let change = Control::RegisterDevice(DeviceRegistration {
            device: key.did(),
            key: key.public(),
            event_types: vec![],
        });
        admin.change(&"cold-chain".parse()?, change, &self.owner).await?;
        Ok(())
    }
}

/// Ends its process when it is dropped.
pub(crate) struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A running node.
pub(crate) struct Process {
    child: Guarded,
    pub(crate) running: Running,
    pub(crate) admin: Admin,
}

impl Process {
    /// Waits until the process has ended.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.child.0.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > until {
                bail!("the process does not end");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.0.try_wait(), Ok(None))
    }

    /// Asks the node to end, as a service manager does.
    pub(crate) async fn terminate(mut self) -> anyhow::Result<ExitStatus> {
        let pid = self.child.0.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        self.ended().await
    }
}

/// A device that keeps every message until it was acknowledged.
pub(crate) struct Device {
    pub(crate) key: DeviceKey,
    pub(crate) name: &'static str,
    next: u32,
    waiting: VecDeque<Envelope>,
    pub(crate) acked: Vec<MessageId>,
}

/// Messages that a device has under way at once.
const WINDOW: usize = 16;

impl Device {
    pub(crate) fn new(name: &'static str) -> anyhow::Result<Self> {
        Ok(Self::with_key(name, DeviceKey::generate(Algorithm::EdDSA)?))
    }

    pub(crate) fn with_key(name: &'static str, key: DeviceKey) -> Self {
        Self { key, name, next: 0, waiting: VecDeque::new(), acked: Vec::new() }
    }

    pub(crate) fn message(&self, project: ProjectId, counter: u32) -> Envelope {
        let hour = 1_262_304_000_000 + u64::from(counter) * 3_600_000;
        let payload =
            format!(r#"{{"device":"{}","t":{hour},"c":{}}}"#, self.name, i64::from(counter % 20) * 1000);
        self.message_of(project, counter, ("reading", payload.into_bytes()))
    }

    /// A message of an event type with a payload.
    pub(crate) fn message_of(
        &self,
        project: ProjectId,
        counter: u32,
        (event_type, payload): (&str, Vec<u8>),
    ) -> Envelope {
        let draft = Draft {
            audience: project,
            key: self.key.key_id(),
            event_type: event_type.parse().expect("a label"),
            sequence: Sequence::new(0, counter),
            time: Timestamp(1_262_304_000_000 + u64::from(counter) * 3_600_000),
            payload,
        };
        draft.sign_envelope([counter as u8; 16], self.key.secret())
    }

    /// What to send now: what was not acknowledged first, then new messages.
    fn window(&mut self, project: ProjectId) -> Vec<Envelope> {
        while self.waiting.len() < WINDOW {
            let envelope = self.message(project, self.next);
            self.waiting.push_back(envelope);
            self.next += 1;
        }
        self.waiting.iter().cloned().collect()
    }

    fn acknowledge(&mut self, id: MessageId) {
        let before = self.waiting.len();
        self.waiting.retain(|e| id_of(e) != id);
        if self.waiting.len() < before {
            self.acked.push(id);
        }
    }

    /// Sends one window over HTTP. An error means that the node was not there; nothing is lost then.
    pub(crate) async fn over_http(
        &mut self,
        http: &Http,
        url: &str,
        project: ProjectId,
    ) -> anyhow::Result<()> {
        let kind = [(header::CONTENT_TYPE, w3bstream_wire::CONTENT_TYPE_ENVELOPE.to_owned())];
        let url = format!("{url}/v1/projects/cold-chain/events");
        let window = self.window(project);
        let sends = window.iter().map(|e| {
            let (url, kind) = (&url, &kind);
            async move { http.send((Method::POST, url), kind, w3bstream_wire::encode_envelope(e)).await }
        });
        for (envelope, answer) in window.iter().zip(futures_util::future::join_all(sends).await) {
            let answer = answer?;
            match answer.status {
                StatusCode::CREATED | StatusCode::OK => self.acknowledge(id_of(envelope)),
                StatusCode::SERVICE_UNAVAILABLE => {}
                status => bail!("a good message was refused: {status} {:?}", answer.body),
            }
        }
        Ok(())
    }

    /// Sends one window over MQTT.
    pub(crate) async fn over_mqtt(&mut self, url: &str, project: ProjectId) -> anyhow::Result<()> {
        let (host, port) = url.trim_start_matches("mqtt://").rsplit_once(':').context("no port")?;
        let mut options = MqttOptions::new(self.name, host, port.parse()?);
        options.set_connection_timeout(2);
        let (client, mut events) = AsyncClient::new(options, WINDOW);
        let window = self.window(project);
        let mut unsent: VecDeque<MessageId> = window.iter().map(id_of).collect();
        for envelope in &window {
            let bytes = w3bstream_wire::encode_envelope(envelope);
            client.publish("w3b/cold-chain/reading", QoS::AtLeastOnce, false, bytes).await?;
        }
        let (mut sent, mut answered) = (HashMap::new(), 0);
        while answered < window.len() {
            let event = tokio::time::timeout(Duration::from_secs(10), events.poll()).await??;
            match event {
                Event::Outgoing(rumqttc::Outgoing::Publish(pkid)) => {
                    sent.insert(pkid, unsent.pop_front().context("sent more than was given")?);
                }
                Event::Incoming(Packet::PubAck(ack)) => {
                    let id = sent.remove(&ack.pkid).context("an acknowledgement of nothing")?;
                    match ack.reason {
                        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => self.acknowledge(id),
                        reason => bail!("a good message was refused: {reason:?}"),
                    }
                    answered += 1;
                }
                _ => {}
            }
        }
        drop(client.disconnect().await);
        Ok(())
    }
}

pub(crate) fn id_of(envelope: &Envelope) -> MessageId {
    Record::new(Form::Envelope(envelope.clone())).id()
}

/// Waits until everything that is stored is attested.
pub(crate) async fn settled(admin: &Admin) -> anyhow::Result<serde_json::Value> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let project = admin.get("/v1/projects/cold-chain").await?;
        let waiting = project["counters"]["w3b_backlog_messages"].as_u64().unwrap_or(0);
        if waiting == 0 && project["height"] == project["attested"] {
            return Ok(project);
        }
        if Instant::now() > until || project["state"] == "Halted" {
            bail!("the project does not come to rest: {project}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
