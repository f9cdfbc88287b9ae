//! The file of users who connect with a password.

use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Argon2, Params};
use serde::{Deserialize, Serialize};
use w3bstream_types::SessionToken;

use crate::config::explain;

/// The most users of a file.
const MAX_USERS: usize = 10_000;
/// The longest name and the longest password, in bytes.
const MAX_TEXT_BYTES: usize = 256;
/// The highest cost of a hash that is read: beyond it one attempt would take the node's memory or time.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
const MAX_PASSES: u32 = 16;
/// How often at most the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What is verified if there is no user at all, so that this takes as long.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// One user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttUser {
    /// The user name.
    pub name: String,
    /// argon2id of the password, as a PHC string.
    pub hash: String,
    /// Topic filters that it publishes to. `{user}` and `{client}` stand for the user name and the client id.
    #[serde(default)]
    pub publish: Vec<String>,
    /// Topic filters that it subscribes to, likewise.
    #[serde(default)]
    pub subscribe: Vec<String>,
}

/// What stands in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttUsers {
    /// The users.
    #[serde(default, rename = "user")]
    pub users: Vec<MqttUser>,
}

impl MqttUsers {
    /// Reads a file; no file is no user.
    ///
    /// # Errors
    /// What is wrong, with file and line.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, &path.display().to_string()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    fn parse(text: &str, name: &str) -> anyhow::Result<Self> {
        let users: Self = toml::from_str(text).map_err(|e| explain(&e, text, name))?;
        if users.users.len() > MAX_USERS {
            bail!("{name}: has more than {MAX_USERS} users");
        }
        for (i, user) in users.users.iter().enumerate() {
            user.check().with_context(|| format!("{name}: user {:?}", user.name))?;
            if users.users.iter().take(i).any(|u| u.name == user.name) {
                bail!("{name}: the user {:?} stands twice", user.name);
            }
        }
        Ok(users)
    }

    /// Writes the file, readable by its owner alone, whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        use std::io::Write as _;
        let text = format!(
            "# Users who connect over MQTT with a password. Made by: w3bstream mqtt user add\n\n{}",
            toml::to_string(self)?
        );
        let next = path.with_extension("toml.new");
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&next);
        let written = file.and_then(|mut f| f.write_all(text.as_bytes()).and_then(|()| f.sync_all()));
        written
            .and_then(|()| std::fs::rename(&next, path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn find(&self, name: &str) -> Option<&MqttUser> {
        self.users.iter().find(|u| u.name == name)
    }

    /// The user, if this is its password. Takes as long if there is no such user. Blocks for some ten milliseconds.
    fn verified(&self, name: &str, password: &[u8]) -> Option<&MqttUser> {
        let user = self.find(name);
        // Somebody's hash, so that the cost is that of the file; what comes of it does not count.
        let text = user.or(self.users.first()).map_or(NOBODY, |u| u.hash.as_str());
        let hash = PasswordHash::new(text).ok()?;
        let right = Argon2::default().verify_password(password, &hash).is_ok();
        user.filter(|_| right)
    }
}

impl MqttUser {
    /// A user with this password.
    ///
    /// # Errors
    /// If the password is too short, too long or looks like a JWT, a name or filter is none, or there are no random
    /// numbers.
    pub fn new(
        name: String,
        password: &str,
        (publish, subscribe): (Vec<String>, Vec<String>),
    ) -> anyhow::Result<Self> {
        if password.len() < 8 || password.len() > MAX_TEXT_BYTES {
            bail!("the password must have 8 to {MAX_TEXT_BYTES} bytes");
        }
        if SessionToken::looks_like(password) {
            bail!("the password looks like a JWT and would be judged as one; choose another");
        }
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|e| anyhow::anyhow!("no random numbers: {e}"))?;
        let wrong = |e: argon2::password_hash::Error| anyhow::anyhow!("cannot hash: {e}");
        let salt = SaltString::encode_b64(&salt).map_err(wrong)?;
        let hash = Argon2::default().hash_password(password.as_bytes(), &salt).map_err(wrong)?.to_string();
        let user = Self { name, hash, publish, subscribe };
        user.check()?;
        Ok(user)
    }

    fn check(&self) -> anyhow::Result<()> {
        let name = &self.name;
        if name.is_empty() || name.len() > MAX_TEXT_BYTES || name.chars().any(char::is_control) {
            bail!("a name must have 1 to {MAX_TEXT_BYTES} bytes and no control characters");
        }
        if name.starts_with("did:") {
            bail!("a name that begins with did: is a device's; choose another");
        }
        let hash = PasswordHash::new(&self.hash).map_err(|e| anyhow::anyhow!("hash: {e}"))?;
        let params = Params::try_from(&hash).map_err(|e| anyhow::anyhow!("hash: {e}"))?;
        if hash.algorithm != argon2::ARGON2ID_IDENT || hash.hash.is_none() {
            bail!("hash must be argon2id; make it with: w3bstream mqtt user add");
        }
        if params.m_cost() > MAX_MEMORY_KIB || params.t_cost() > MAX_PASSES || params.p_cost() > 16 {
            bail!("hash may cost at most {MAX_MEMORY_KIB} KiB, {MAX_PASSES} passes and 16 lanes");
        }
        for filter in self.publish.iter().chain(&self.subscribe) {
            if !is_filter(&filter.replace("{user}", "u").replace("{client}", "c")) {
                bail!("{filter:?} is no topic filter, such as w3b/cold-chain/+ or w3b/+/cmd/{{user}}");
            }
        }
        Ok(())
    }

    /// The filters for one connection. A name or client id that could be more than one level gives no right.
    pub(super) fn filters(&self, client: &str) -> (Vec<String>, Vec<String>) {
        let expand = |all: &[String]| {
            let of = |filter: &String| {
                let mut text = filter.clone();
                for (mark, value) in [("{user}", self.name.as_str()), ("{client}", client)] {
                    if text.contains(mark) {
                        // One pass for each mark: a value with a mark in it is no level.
                        text = Some(value).filter(|v| is_level(v)).map(|v| text.replace(mark, v))?;
                    }
                }
                Some(text)
            };
            all.iter().filter_map(of).collect()
        };
        (expand(&self.publish), expand(&self.subscribe))
    }
}

/// Whether a text may stand in one level of a topic.
pub(super) fn is_level(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_TEXT_BYTES && !text.contains(['/', '+', '#', '$', '{', '}', '\0'])
}

fn is_filter(filter: &str) -> bool {
    let levels: Vec<&str> = filter.split('/').collect();
    let last = levels.len().saturating_sub(1);
    let fits = |(at, level): (usize, &&str)| {
        !level.contains(['+', '#', '\0', '{', '}']) || *level == "+" || (*level == "#" && at == last)
    };
    !filter.is_empty() && filter.len() <= 1024 && levels.iter().enumerate().all(fits)
}

/// The users of a file, read anew when it changes.
#[derive(Debug)]
pub(super) struct Users {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    users: Arc<MqttUsers>,
    /// What the file was when it was read: time of change, length and number.
    mark: Option<Mark>,
    looked: Option<Instant>,
}

type Mark = (i64, i64, u64, u64);

impl Users {
    /// Reads the file once.
    ///
    /// # Errors
    /// What is wrong in it: a node does not start with a list that it does not understand.
    pub(super) fn open(path: PathBuf) -> anyhow::Result<Self> {
        let mark = mark(&path);
        let users = Arc::new(MqttUsers::read(&path)?);
        Ok(Self { path, state: Mutex::new(State { users, mark, looked: Some(Instant::now()) }) })
    }

    /// The user, if this is its password. Blocks.
    pub(super) fn verified(&self, name: &str, password: &[u8]) -> Option<MqttUser> {
        if password.len() > MAX_TEXT_BYTES {
            return None;
        }
        self.current().verified(name, password).cloned()
    }

    /// Whether there is a user of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.current().find(name).is_some()
    }

    fn current(&self) -> Arc<MqttUsers> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return state.users.clone();
        }
        state.looked = Some(Instant::now());
        let now = mark(&self.path);
        if now != state.mark {
            match MqttUsers::read(&self.path) {
                Ok(users) => state.users = Arc::new(users),
                // Those who were there stay: a slip in the file shuts nobody out.
                Err(e) => tracing::error!("the users stay as they were: {e:#}"),
            }
            state.mark = now;
        }
        state.users.clone()
    }
}

fn mark(path: &Path) -> Option<Mark> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.mtime(), meta.mtime_nsec(), meta.len(), meta.ino()))
}

/// Reads a file that may be anything: what was read is written and is the same then.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any_users(text: &str) {
    let Ok(users) = MqttUsers::parse(text, "mqtt-users.toml") else { return };
    let again = toml::to_string(&users).ok().and_then(|text| MqttUsers::parse(&text, "again").ok());
    assert_eq!(again, Some(users), "users change when they are written");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, password: &str, filters: &[&str]) -> MqttUser {
        let filters: Vec<String> = filters.iter().map(|f| (*f).to_owned()).collect();
        MqttUser::new(name.into(), password, (filters.clone(), filters)).unwrap()
    }

    #[test]
    fn a_password_is_its_users_and_unknown_names_cost_the_same_work() {
        let all = MqttUsers {
            users: vec![user("ops", "correct horse", &["#"]), user("dev", "battery staple", &[])],
        };
        assert_eq!(all.verified("ops", b"correct horse").unwrap().name, "ops");
        for (name, password) in [
            ("ops", "battery staple"),
            ("dev", "correct horse"),
            ("ops", ""),
            ("nobody", "correct horse"),
            ("", ""),
        ] {
            assert_eq!(all.verified(name, password.as_bytes()), None, "{name} {password}");
        }
        // What is verified for nobody is a hash of the same cost as a new user's.
        let cost = |hash: &str| Params::try_from(&PasswordHash::new(hash).unwrap()).unwrap();
        assert_eq!(cost(NOBODY).m_cost(), cost(&all.users[0].hash).m_cost());
        assert_eq!(cost(NOBODY).t_cost(), cost(&all.users[0].hash).t_cost());
        assert!(MqttUsers::default().verified("ops", b"").is_none());
    }

    #[test]
    fn placeholders_stand_for_one_level() {
        let ops = user("ops", "correct horse", &["w3b/{user}/{client}", "plain", "x/{client}/#"]);
        assert_eq!(ops.filters("c1").0, ["w3b/ops/c1", "plain", "x/c1/#"]);
        for client in ["", "+", "#", "a/b", "a+", "{user}", "$SYS", "a\0", &"c".repeat(MAX_TEXT_BYTES + 1)] {
            assert_eq!(ops.filters(client).1, ["plain"], "{client:?}");
        }
        let odd = user("a/b", "correct horse", &["w3b/{user}/x", "plain"]);
        assert_eq!(odd.filters("c").0, ["plain"]);
    }

    #[test]
    fn what_cannot_be_understood_is_refused_with_the_reason() {
        let hash = user("ops", "correct horse", &[]).hash;
        let file = |name: &str, hash: &str, filter: &str| {
            format!("[[user]]\nname = {name:?}\nhash = {hash:?}\npublish = [{filter:?}]\n")
        };
        MqttUsers::parse(&file("ops", &hash, "w3b/+/#"), "f").unwrap();
        let refused = |text: &str, why: &str| {
            let error = format!("{:#}", MqttUsers::parse(text, "f").unwrap_err());
            assert!(error.contains(why), "{why}: {error}");
        };
        refused(&file("did:key:z", &hash, "a"), "is a device's");
        refused(&file("", &hash, "a"), "1 to 256 bytes");
        refused(&file("ops", "plain text", "a"), "hash");
        refused(&file("ops", &hash.replace("argon2id", "argon2i"), "a"), "argon2id");
        refused(&file("ops", &hash.replace("m=19456", "m=4000000"), "a"), "at most");
        refused(&file("ops", &hash.replace("t=2", "t=1000"), "a"), "at most");
        for filter in ["", "a/#/b", "a+", "{other}/x"] {
            refused(&file("ops", &hash, filter), "no topic filter");
        }
        refused(&file("ops", &hash, "a").repeat(2), "stands twice");
        refused("[[user]]\nnam = \"x\"\n", "did you mean \"name\"");
        assert!(MqttUser::new("x".into(), "short", (vec![], vec![])).is_err());
        assert!(MqttUser::new("x".into(), "eyJhbGciOi.e30.AAAA", (vec![], vec![])).is_err());
    }

    #[test]
    fn the_file_is_private_and_read_anew_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.toml");
        let users = Users::open(path.clone()).unwrap();
        assert_eq!(users.verified("ops", b"correct horse"), None, "no file, no user");
        let look = || users.state.lock().unwrap().looked = None;
        MqttUsers { users: vec![user("ops", "correct horse", &[])] }.write(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        look();
        assert!(users.verified("ops", b"correct horse").is_some());
        std::fs::write(&path, "[[user]]\nname = 1").unwrap();
        look();
        assert!(users.verified("ops", b"correct horse").is_some(), "a slip shuts nobody out");
        MqttUsers::default().write(&path).unwrap();
        look();
        assert_eq!(users.verified("ops", b"correct horse"), None);
        assert_eq!(users.verified("ops", &[b'x'; MAX_TEXT_BYTES + 1]), None);
        assert!(Users::open(dir.path().to_path_buf()).is_err(), "a folder is no file");
    }
}
