//! The node with the file storage: what it acknowledged is there after it was stopped and after it was killed.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use w3bstream::node::{Admin, Config, Http, ManifestFile, Paths, Running};
use w3bstream::types::{
    Algorithm, Control, DeviceRegistration, Did, Draft, Envelope, Form, MessageId, ProjectId, Record,
    SecretKey, Sequence, Timestamp,
};
use w3bstream::wallet::Role;

const PATIENCE: Duration = Duration::from_secs(60);

/// A node's data folder, with `kind = "file"` in its `node.toml`.
struct Home {
    dir: tempfile::TempDir,
    owner: SecretKey,
    token: String,
}

impl Home {
    fn new() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut config = Config::default();
        config.storage.kind = "file".into();
        let made = w3bstream::node::init(&Paths::new(dir.path().join("node")), &config, None)?;
        let owner = made.wallet.secret(Role::Owner)?.clone();
        Ok(Self { dir, owner, token: made.admin_token })
    }

    fn paths(&self) -> Paths {
        Paths::new(self.dir.path().join("node"))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_file-node"));
        command.args(["run", "--http=127.0.0.1:0", "--mqtt=127.0.0.1:0", "--admin=127.0.0.1:0", "--dir"]);
        command.arg(self.paths().dir()).stdin(Stdio::null());
        command
    }

    /// Starts the node on free ports and waits until it answers.
    async fn start(&self) -> anyhow::Result<Node> {
        let file = self.paths().running();
        drop(std::fs::remove_file(&file));
        let log = self.dir.path().join("node.log");
        let out = std::fs::File::options().create(true).append(true).open(&log)?;
        let mut child = Guarded(self.command().stdout(Stdio::null()).stderr(out).spawn()?);
        let until = Instant::now() + PATIENCE;
        loop {
            if let Ok(text) = std::fs::read_to_string(&file)
                && let Ok(running) = serde_json::from_str::<Running>(&text)
            {
                let admin = Admin::new(running.admin, self.token.clone());
                return Ok(Node { child, http: running.http, admin });
            }
            if child.0.try_wait()?.is_some() || Instant::now() > until {
                bail!("the node does not start:\n{}", std::fs::read_to_string(&log)?);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Deploys the cold-chain project and registers a device.
    async fn deploy(&self, admin: &Admin, device: &SecretKey) -> anyhow::Result<ProjectId> {
        let path = Path::new("../cold-chain");
        let loaded = ManifestFile::load(path, &Did::key(&self.owner.public()))?;
        for module in loaded.modules.into_values() {
            admin.put_program(module).await?;
        }
        let (name, project) = (loaded.manifest.name.clone(), loaded.manifest.project());
        admin.change(&name, Control::Deploy(Box::new(loaded.manifest)), &self.owner).await?;
        let key = device.public();
        let registration = DeviceRegistration { device: Did::key(&key), key, event_types: vec![] };
        admin.change(&name, Control::RegisterDevice(registration), &self.owner).await?;
        Ok(project)
    }
}

/// Ends its process when it is dropped.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

struct Node {
    child: Guarded,
    http: String,
    admin: Admin,
}

impl Node {
    /// Sends a signed message. The device may forget it once this has returned.
    async fn send(&self, message: &Envelope) -> anyhow::Result<MessageId> {
        let url = format!("{}/v1/projects/cold-chain/events", self.http);
        let kind = [("content-type".parse()?, w3bstream::wire::CONTENT_TYPE_ENVELOPE.to_owned())];
        let body = w3bstream::wire::encode_envelope(message);
        Http::default().send(("POST".parse()?, &url), &kind, body).await?.ok()?;
        Ok(Record::new(Form::Envelope(message.clone())).id())
    }

    /// Waits until a message has reached the last of its states.
    async fn attested(&self, id: MessageId) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let life = self.admin.get(&format!("/v1/messages/{id}")).await;
            let life = life.with_context(|| format!("acknowledged and lost: {id}"))?;
            let states = life["states"].as_array().into_iter().flatten();
            let states: Vec<&str> = states.filter_map(|s| s["state"].as_str()).collect();
            if states == ["stored", "ordered", "executed", "attested"] {
                return Ok(());
            }
            ensure!(Instant::now() < until, "acknowledged and not attested: {life}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks the node to end, as a service manager does.
    fn terminate(mut self) -> anyhow::Result<()> {
        Command::new("kill").args(["-TERM", &self.child.0.id().to_string()]).status()?;
        let status = self.child.0.wait()?;
        ensure!(status.success(), "the node ended with {status}");
        Ok(())
    }
}

fn reading(device: &SecretKey, project: ProjectId, counter: u32) -> Envelope {
    let time = 1_262_304_000_000 + u64::from(counter) * 3_600_000;
    let draft = Draft {
        audience: project,
        key: Did::key(&device.public()).default_key_id(),
        event_type: "reading".parse().unwrap(),
        sequence: Sequence::new(0, counter),
        time: Timestamp(time),
        payload: format!(r#"{{"device":"truck-1","t":{time},"c":4000}}"#).into_bytes(),
    };
    draft.sign_envelope([7; 16], device)
}

#[tokio::test]
async fn every_acknowledged_message_outlives_the_process() -> anyhow::Result<()> {
    let home = Home::new()?;
    let device = SecretKey::from_bytes(Algorithm::EdDSA, &[7; 32])?;
    let mut node = home.start().await?;
    let project = home.deploy(&node.admin, &device).await?;
    let mut acknowledged = Vec::new();
    for (run, kill) in [(0, false), (1, true), (2, true)] {
        for i in 0..8 {
            acknowledged.push(node.send(&reading(&device, project, run * 8 + i)).await?);
        }
        if kill {
            // SIGKILL: nothing can be put in order before the end.
            drop(node);
        } else {
            node.terminate()?;
        }
        node = home.start().await?;
        for id in &acknowledged {
            node.attested(*id).await?;
        }
        // The device heard no answer, perhaps, and sends again.
        let again = node.send(&reading(&device, project, run * 8)).await?;
        assert_eq!(again, acknowledged[run as usize * 8]);
    }
    node.terminate()?;
    let written = std::fs::metadata(home.paths().dir().join("records.log"))?.len();
    assert!(written > 24 * 100, "24 messages are not in {written} bytes");
    assert!(!home.paths().dir().join("storage.sqlite").exists(), "the stock backend was opened too");
    Ok(())
}

#[test]
fn a_setting_that_is_not_known_is_refused() -> anyhow::Result<()> {
    let home = Home::new()?;
    let file = home.paths().config();
    let settings = std::fs::read_to_string(&file)?;
    ensure!(settings.contains("kind = \"file\"\n"), "{settings}");
    std::fs::write(&file, settings.replace("kind = \"file\"\n", "kind = \"file\"\nfiel = \"there.log\"\n"))?;
    let Output { status, stderr, .. } = home.command().output()?;
    let said = String::from_utf8_lossy(&stderr);
    assert!(!status.success() && said.contains("[storage]") && said.contains("fiel"), "{status}: {said}");
    Ok(())
}
