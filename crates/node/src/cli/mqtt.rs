//! `mqtt user add|list|remove`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Subcommand as ClapSubcommand;
use serde_json::json;

use super::{Where, load_config, print, print_value};
use crate::setup::random_token;
use crate::{MqttUser, MqttUsers};

#[derive(Debug, ClapSubcommand)]
pub(crate) enum Command {
    /// Users who connect with a password.
    #[command(subcommand)]
    User(User),
}

#[derive(Debug, ClapSubcommand)]
pub(crate) enum User {
    /// Add a user, or replace it. A running node takes it within a second.
    #[command(
        after_help = "Example:\n  w3bstream mqtt user add ops --subscribe 'w3b/+/ack/+' --subscribe 'w3b/+/refused/+'"
    )]
    Add {
        #[command(flatten)]
        at: Where,
        /// The user name.
        name: String,
        /// A file with the password, or - for standard input. Without it a password is made, and shown once.
        #[arg(long)]
        password_file: Option<PathBuf>,
        /// A topic filter that it publishes to; may be given several times. {user} and {client} stand for the user name
        /// and the client id.
        #[arg(long)]
        publish: Vec<String>,
        /// A topic filter that it subscribes to, likewise.
        #[arg(long)]
        subscribe: Vec<String>,
    },
    /// The users and their rights.
    List {
        #[command(flatten)]
        at: Where,
    },
    /// Remove a user. Connections that it has stay until they end.
    Remove {
        #[command(flatten)]
        at: Where,
        /// The user name.
        name: String,
    },
}

pub(crate) fn run(command: Command, json: bool) -> anyhow::Result<()> {
    let Command::User(user) = command;
    match user {
        User::Add { at, name, password_file, publish, subscribe } => {
            let path = file_of(&at)?;
            let made = password_file.is_none();
            let password = match password_file {
                Some(file) => read_password(&file)?,
                None => random_token()?,
            };
            let user = MqttUser::new(name, &password, (publish, subscribe))?;
            let name = user.name.clone();
            add(&path, user)?;
            if json {
                let shown = made.then_some(password);
                print_value(&json!({ "user": name, "password": shown, "file": path }));
            } else {
                print(format!("{name} may connect; see {}", path.display()));
                if made {
                    print(format!("  password  {password}   (shown once)"));
                }
            }
        }
        User::List { at } => {
            let users = MqttUsers::read(&file_of(&at)?)?.users;
            if json {
                let row =
                    |u: &MqttUser| json!({"name": u.name, "publish": u.publish, "subscribe": u.subscribe});
                print_value(&users.iter().map(row).collect());
            } else if users.is_empty() {
                print("There is no user.");
            } else {
                let row = |u: &MqttUser| {
                    format!(
                        "{}  publish {}  subscribe {}",
                        u.name,
                        u.publish.join(" "),
                        u.subscribe.join(" ")
                    )
                };
                users.iter().for_each(|u| print(row(u)));
            }
        }
        User::Remove { at, name } => {
            remove(&file_of(&at)?, &name)?;
            if json { print_value(&json!({ "removed": name })) } else { print(format!("{name} is removed")) }
        }
    }
    Ok(())
}

fn file_of(at: &Where) -> anyhow::Result<PathBuf> {
    Ok(at.paths().dir().join(load_config(at)?.mqtt.users))
}

fn read_password(file: &Path) -> anyhow::Result<String> {
    let text = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin()).context("standard input")?
    } else {
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
    };
    // A final line end is what editors and echo add.
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

fn add(path: &Path, user: MqttUser) -> anyhow::Result<()> {
    let mut all = MqttUsers::read(path)?;
    all.users.retain(|u| u.name != user.name);
    all.users.push(user);
    all.write(path)
}

fn remove(path: &Path, name: &str) -> anyhow::Result<()> {
    let mut all = MqttUsers::read(path)?;
    let before = all.users.len();
    all.users.retain(|u| u.name != name);
    if all.users.len() == before {
        let known: Vec<&str> = all.users.iter().map(|u| u.name.as_str()).collect();
        bail!("there is no user {name:?} in {}; there are: {}", path.display(), known.join(", "));
    }
    all.write(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_added_replaced_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.toml");
        let user = |filter: &str| {
            MqttUser::new("ops".into(), "correct horse", (vec![filter.into()], vec![])).unwrap()
        };
        add(&path, user("a")).unwrap();
        add(&path, user("b")).unwrap();
        let users = MqttUsers::read(&path).unwrap().users;
        assert_eq!((users.len(), users[0].publish[0].as_str()), (1, "b"));
        let error = remove(&path, "dev").unwrap_err().to_string();
        assert!(error.contains("there are: ops"), "{error}");
        remove(&path, "ops").unwrap();
        assert_eq!(MqttUsers::read(&path).unwrap(), MqttUsers::default());
        std::fs::write(&path, "correct horse\r\n").unwrap();
        assert_eq!(read_password(&path).unwrap(), "correct horse");
    }
}
