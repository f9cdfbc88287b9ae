//! `project dev`: a throw-away node that builds and deploys a project again whenever a file of it changes.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::sync::oneshot;
use w3bstream_tasks::Tasks;
use w3bstream_types::{
    Algorithm, Control, DeviceRegistration, Did, Manifest, ProjectName, SecretKey, TokenRegistration,
    token_hash,
};
use w3bstream_wallet::Role;

use super::logs::{self, Seen};
use super::project::{self, Deployed};
use super::{device, install_logging, kits, print, stop_signal};
use crate::{Admin, Config, ManifestFile, NodeBuilder, Paths, Registry, Running, setup};

/// How often files are looked at, and logs.
const EVERY: Duration = Duration::from_millis(250);
/// Most files of a project that are watched.
const MOST_FILES: usize = 20_000;
/// Folders that hold what is made, beside hidden ones.
const MADE: [&str; 4] = ["target", "build", "node_modules", "w3bstream-data"];
/// The publisher whose token the printed commands have.
const PUBLISHER: &str = "dev";

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  w3bstream project new doors --lang c && cd doors && w3bstream project dev"
)]
pub(crate) struct DevArgs {
    /// The project's folder or its w3bstream.toml.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Keep the node's data here; else it is in a folder of its own, which is removed in the end.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// How the project is built, instead of make, npm run build or cargo build, by what is in its folder.
    #[arg(long)]
    build: Option<String>,
    /// Do not build: deploy again when a module changes.
    #[arg(long, conflicts_with = "build")]
    no_build: bool,
}

/// A folder that is removed when it is dropped, unless it is to be kept.
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    fn make(dir: Option<PathBuf>) -> anyhow::Result<Self> {
        if let Some(path) = dir {
            return Ok(Self { path, keep: true });
        }
        let token = setup::random_token()?;
        let path = std::env::temp_dir().join(format!("w3bstream-dev-{}", token.get(4..12).unwrap_or("node")));
        // It holds keys.
        std::fs::DirBuilder::new().mode(0o700).create(&path).with_context(|| path.display().to_string())?;
        Ok(Self { path, keep: false })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed is left to the system.
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}

pub(crate) async fn run(registry: Registry, args: DevArgs) -> anyhow::Result<()> {
    install_logging("warn", false);
    let name = read_name(&args.path)?;
    let folder = Folder::make(args.dir.clone())?;
    let paths = Paths::new(&folder.path);
    let (wallet, token) = match paths.keys().exists() {
        true => (setup::open_wallet(&paths, None)?, std::fs::read_to_string(paths.admin_token())?),
        false => {
            let made = setup::init(&paths, &Config::default(), None)?;
            (made.wallet, made.admin_token)
        }
    };
    let owner = wallet.secret(Role::Owner)?.clone();
    let node = NodeBuilder::new(registry, Config::default(), paths.clone(), wallet)
        .with_free_ports(true)
        .build()
        .await?;
    let running = node.running().clone();
    let admin = Admin::new(running.admin.clone(), token.trim());
    let tasks = Tasks::new("dev");
    let (stop, stopped) = oneshot::channel::<()>();
    let (ended, end) = oneshot::channel();
    tasks.spawn("node", async move {
        let result = node.run(async { drop(stopped.await) }).await;
        // Nobody asks for the result if the command gave up.
        let _ = ended.send(result);
    });
    print(format!("A node for {name}: {}  (status page; Ctrl-C ends it)", running.http));
    let session = Session { args, name, owner, admin, running, paths };
    let worked = tokio::select! {
        worked = session.work() => worked,
        () = stop_signal() => Ok(()),
    };
    drop(stop);
    end.await.context("the node was lost")??;
    worked
}

/// The project's name; the manifest's modules need not be there yet.
fn read_name(path: &Path) -> anyhow::Result<ProjectName> {
    Ok(read_manifest(path)?.name)
}

fn read_manifest(path: &Path) -> anyhow::Result<ManifestFile> {
    let file = if path.is_dir() { path.join(crate::manifest_file::FILE) } else { path.to_owned() };
    let text = std::fs::read_to_string(&file).with_context(|| {
        format!("cannot read {}; make a project with: w3bstream project new NAME --lang rust", file.display())
    })?;
    ManifestFile::parse(&text, &file.display().to_string())
}

/// One run of `project dev`.
struct Session {
    args: DevArgs,
    name: ProjectName,
    owner: SecretKey,
    admin: Admin,
    running: Running,
    paths: Paths,
}

impl Session {
    /// Builds, deploys, watches and shows logs until it is dropped.
    async fn work(&self) -> anyhow::Result<()> {
        self.up().await?;
        let mut told = false;
        let (mut seen, mut lines) = (None, Seen::default());
        loop {
            let now = self.fingerprint()?;
            if seen.as_ref() != Some(&now) {
                // A program that saves many files gets a moment to end.
                tokio::time::sleep(EVERY).await;
                if self.fingerprint()? != now {
                    continue;
                }
                match self.round().await {
                    Ok(manifest) if !told => {
                        self.introduce(&manifest).await?;
                        told = true;
                    }
                    Ok(_) => {}
                    Err(e) => print(format!("not deployed: {e:#}\nWaiting for a change.")),
                }
                // What the build wrote is no change.
                seen = Some(self.fingerprint()?);
            }
            if told {
                let all = self.admin.get(&format!("/v1/projects/{}/logs", self.name)).await?;
                lines.new_of(&all).into_iter().for_each(|line| logs::show(line, false));
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn up(&self) -> anyhow::Result<()> {
        for _ in 0..200 {
            if self.admin.get("/v1/status").await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("the node does not come up")
    }

    /// Builds and deploys once.
    async fn round(&self) -> anyhow::Result<Manifest> {
        let dir = kits::folder(&self.args.path);
        let command = match (&self.args.build, self.args.no_build) {
            (_, true) => None,
            (Some(given), _) => Some(given.clone()),
            (None, _) => kits::builder(&dir).map(str::to_owned),
        };
        if let Some(command) = command {
            print(format!("$ {command}"));
            tokio::task::spawn_blocking(move || build(&command, &dir))
                .await
                .context("the build panicked")??;
        }
        let mut loaded = ManifestFile::load(&self.args.path, &Did::key(&self.owner.public()))?;
        if loaded.manifest.name != self.name {
            bail!("the project's name has changed to {}; start again", loaded.manifest.name);
        }
        // So that curl and mosquitto_pub can send without a signature.
        loaded.manifest.allow_tokens = true;
        let manifest = loaded.manifest.clone();
        let Deployed { name, version, height, .. } =
            project::submit(&self.admin, &self.owner, loaded).await?;
        print(format!("Deployed {name} version {version} at height {height}."));
        Ok(manifest)
    }

    /// Registers a device and a publisher, and prints how to send.
    async fn introduce(&self, manifest: &Manifest) -> anyhow::Result<()> {
        let key_file = self.paths.dir().join("device.jwk");
        let key = device::load_or_make(&key_file, Algorithm::EdDSA)?;
        let registration =
            DeviceRegistration { device: key.did(), key: key.public(), event_types: Vec::new() };
        self.admin.change(&self.name, Control::RegisterDevice(registration), &self.owner).await?;
        let token = setup::random_token()?;
        let registration = TokenRegistration {
            publisher: PUBLISHER.parse()?,
            token_hash: token_hash(&token),
            event_types: Vec::new(),
        };
        self.admin.change(&self.name, Control::RegisterToken(registration), &self.owner).await?;
        let (dir, key_file) = (self.paths.dir().display().to_string(), key_file.display().to_string());
        print(commands(&self.running, manifest, (&token, &dir, &key_file)));
        Ok(())
    }

    /// When each file of the project was last changed, and how long it is.
    fn fingerprint(&self) -> anyhow::Result<BTreeMap<PathBuf, (Option<SystemTime>, u64)>> {
        let mut found = BTreeMap::new();
        let dir = kits::folder(&self.args.path);
        collect(&dir, &mut found)?;
        // Modules mostly lie where things are made.
        if self.args.no_build
            && let Ok(manifest) = read_manifest(&self.args.path)
        {
            manifest.applets.iter().for_each(|applet| note(dir.join(&applet.module), &mut found));
        }
        Ok(found)
    }
}

type Found = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

fn note(path: PathBuf, found: &mut Found) {
    // A file that went away meanwhile is noticed by not being there.
    if let Ok(about) = std::fs::metadata(&path) {
        found.insert(path, (about.modified().ok(), about.len()));
    }
}

fn collect(dir: &Path, found: &mut Found) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // Links are not followed, so there are no circles.
        let Ok(kind) = entry.file_type() else { continue };
        if name.starts_with('.') || (kind.is_dir() && MADE.contains(&name.as_ref())) {
            continue;
        }
        if kind.is_dir() {
            // A folder that went away meanwhile holds nothing.
            drop(collect(&entry.path(), found));
        } else {
            note(entry.path(), found);
        }
        if found.len() > MOST_FILES {
            bail!(
                "{} has more than {MOST_FILES} files to watch; give the project a folder of its own",
                dir.display()
            );
        }
    }
    Ok(())
}

fn build(command: &str, dir: &Path) -> anyhow::Result<()> {
    let status = Command::new("sh").args(["-c", command]).current_dir(dir).stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot start {command}"))?;
    if !status.success() {
        bail!("{command}: {status}");
    }
    Ok(())
}

/// Commands to paste, for the first event type of the manifest.
fn commands(running: &Running, manifest: &Manifest, (token, dir, key): (&str, &str, &str)) -> String {
    let name = &manifest.name;
    let routes = manifest.applets.iter().flat_map(|a| &a.routes);
    let event_type = routes.map(|r| r.event_type.to_string()).next().unwrap_or_else(|| "default".to_owned());
    let http = &running.http;
    let mut text = format!(
        "\nSend with curl:\n  curl -H 'Authorization: Bearer {token}' -H \"Idempotency-Key: $(date +%s%N)\" \
         '{http}/v1/projects/{name}/events?type={event_type}' -d '{{\"value\":21}}'\n"
    );
    if let Some((host, port)) =
        running.mqtt.as_deref().and_then(|m| m.trim_start_matches("mqtt://").rsplit_once(':'))
    {
        text.push_str(&format!(
            "Send with Mosquitto's client:\n  mosquitto_pub -h {host} -p {port} -u {name} -P {token} -q 1 \
             -t w3b/{name}/{event_type} -m '{{\"value\":21}}'\nSee what is published:\n  mosquitto_sub -h {host} -p {port} -t '#' -v\n"
        ));
    }
    text.push_str(&format!(
        "Send signed, as a device does:\n  w3bstream send --dir {dir} --project {name} --type {event_type} \
         --device {key} '{{\"value\":21}}'\nThe applets' logs follow.\n"
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_and_what_is_hidden_is_not_watched() {
        let dir = tempfile::tempdir().unwrap();
        for file in [
            "w3bstream.toml",
            "src/a.c",
            "target/x",
            "build/y.wasm",
            "node_modules/z",
            ".git/w",
            "sub/target/v",
        ] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let watch = || {
            let mut found = Found::new();
            collect(dir.path(), &mut found).unwrap();
            found
        };
        let before = watch();
        let names: Vec<_> =
            before.keys().map(|p| p.strip_prefix(dir.path()).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["src/a.c", "w3bstream.toml"]);
        std::fs::write(dir.path().join("src/a.c"), "longer").unwrap();
        assert_ne!(watch(), before);
    }

    #[test]
    fn a_build_that_fails_says_its_command() {
        let dir = tempfile::tempdir().unwrap();
        assert!(build("true", dir.path()).is_ok());
        let failed = build("exit 3", dir.path()).unwrap_err().to_string();
        assert!(failed.contains("exit 3") && failed.contains('3'), "{failed}");
    }

    #[test]
    fn a_folder_of_its_own_goes_away_and_a_given_one_stays() {
        let own = Folder::make(None).unwrap();
        let path = own.path.clone();
        assert!(path.is_dir());
        drop(own);
        assert!(!path.exists());
        let given = tempfile::tempdir().unwrap();
        drop(Folder::make(Some(given.path().to_owned())).unwrap());
        assert!(given.path().is_dir());
    }
}
