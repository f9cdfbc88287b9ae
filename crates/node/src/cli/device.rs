//! `device add|list|revoke|token`.

use std::path::PathBuf;

use clap::Subcommand as ClapSubcommand;
use serde_json::json;
use w3bstream_types::{
    Algorithm, Control, DeviceRegistration, Did, EventType, ProjectName, PublisherName, TokenRegistration,
    token_hash,
};
use w3bstream_wallet_file::DeviceKey;

use super::{Where, print, print_value};
use crate::setup::random_token;

#[derive(Debug, ClapSubcommand)]
pub(crate) enum Command {
    /// Register a device: by its DID, or by a key file, which is made if it is not there.
    Add {
        #[command(flatten)]
        at: Where,
        /// The project.
        #[arg(long)]
        project: ProjectName,
        /// A did:key or did:jwk, or a key file.
        device: String,
        /// The algorithm of a new key file.
        #[arg(long, default_value = "EdDSA")]
        algorithm: Algorithm,
        /// An event type that it may send; may be given several times. All, if not given.
        #[arg(long = "type")]
        types: Vec<EventType>,
    },
    /// The devices of a project.
    List {
        #[command(flatten)]
        at: Where,
        /// The project.
        #[arg(long)]
        project: ProjectName,
    },
    /// Revoke a device for ever.
    Revoke {
        #[command(flatten)]
        at: Where,
        /// The project.
        #[arg(long)]
        project: ProjectName,
        /// The device.
        device: Did,
    },
    /// Make a token for a publisher that cannot sign. Shown once; the project must allow tokens.
    Token {
        #[command(flatten)]
        at: Where,
        /// The project.
        #[arg(long)]
        project: ProjectName,
        /// The publisher's name.
        publisher: PublisherName,
        /// An event type that it may send; may be given several times. All, if not given.
        #[arg(long = "type")]
        types: Vec<EventType>,
        /// Revoke its token instead.
        #[arg(long)]
        revoke: bool,
    },
}

pub(crate) async fn run(command: Command, json: bool) -> anyhow::Result<()> {
    match command {
        Command::Add { at, project, device, algorithm, types } => {
            let key = if device.starts_with("did:") {
                device.parse::<Did>().and_then(|did| Ok((did.embedded_key()?, did)))?
            } else {
                let key = load_or_make(&PathBuf::from(device), algorithm)?;
                (key.public(), key.did())
            };
            let (key, did) = key;
            let change =
                Control::RegisterDevice(DeviceRegistration { device: did.clone(), key, event_types: types });
            let height = at.admin()?.change(&project, change, &at.owner()?).await?;
            report(
                json,
                json!({"device": did, "height": height}),
                &format!("Registered {did} at height {height}."),
            );
        }
        Command::List { at, project } => {
            let devices = at.admin()?.get(&format!("/v1/projects/{project}/devices")).await?;
            if json {
                print_value(&devices);
            } else {
                for d in devices.as_array().into_iter().flatten() {
                    let text = |name: &str| d[name].as_str().unwrap_or("-").to_owned();
                    print(format!(
                        "{:10} sequence {:>20}  {}",
                        text("state"),
                        text("sequence"),
                        text("device")
                    ));
                }
            }
        }
        Command::Revoke { at, project, device } => {
            let change = Control::RevokeDevice(device.clone());
            let height = at.admin()?.change(&project, change, &at.owner()?).await?;
            report(
                json,
                json!({"device": device, "height": height}),
                &format!("Revoked {device} at height {height}."),
            );
        }
        Command::Token { at, project, publisher, types, revoke } => {
            token(&at, (&project, publisher, types), revoke, json).await?;
        }
    }
    Ok(())
}

async fn token(
    at: &Where,
    (project, publisher, event_types): (&ProjectName, PublisherName, Vec<EventType>),
    revoke: bool,
    json: bool,
) -> anyhow::Result<()> {
    let token = random_token()?;
    let change = if revoke {
        Control::RevokeToken(publisher.clone())
    } else {
        let token_hash = token_hash(&token);
        Control::RegisterToken(TokenRegistration { publisher: publisher.clone(), token_hash, event_types })
    };
    let height = at.admin()?.change(project, change, &at.owner()?).await?;
    if revoke {
        let text = format!("Revoked the token of {publisher} at height {height}.");
        report(json, json!({"publisher": publisher, "height": height}), &text);
    } else {
        let text = format!("Token of {publisher} (shown once): {token}");
        report(json, json!({"publisher": publisher, "token": token, "height": height}), &text);
    }
    Ok(())
}

fn report(json: bool, value: serde_json::Value, text: &str) {
    if json { print_value(&value) } else { print(text) }
}

/// A device's key file, made if it is not there.
pub(crate) fn load_or_make(path: &std::path::Path, algorithm: Algorithm) -> anyhow::Result<DeviceKey> {
    if path.exists() {
        return Ok(DeviceKey::load(path)?);
    }
    let key = DeviceKey::generate(algorithm)?;
    key.save(path)?;
    Ok(key)
}
