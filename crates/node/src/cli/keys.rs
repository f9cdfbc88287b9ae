//! `keys show|export|convert`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Subcommand as ClapSubcommand;
use serde_json::{Value, json};
use w3bstream_types::{Address, Did, ProjectId, ProjectName, PublicKey, SecretKey};
use w3bstream_wallet::{Role, Signer as _, project_fee_key};
use w3bstream_wallet_file::exchange::{KeyFormat, export_to, import_from};
use w3bstream_wallet_file::{FileWallet, Passphrase};

use super::{Where, print, print_value};
use crate::setup::open_wallet;

#[derive(Debug, ClapSubcommand)]
pub(crate) enum Command {
    /// The node's public keys by role.
    Show(Where),
    /// Write a private key of the node to a new file, for another program.
    Export {
        #[command(flatten)]
        at: Where,
        /// Which one: node, consensus, attestation, owner or fees.
        #[arg(long)]
        role: Role,
        /// Of role fees: the account that pays for this project's transactions, owned by this node's owner.
        #[arg(long)]
        project: Option<ProjectName>,
        #[command(flatten)]
        to: To,
    },
    /// Read a private key in any form (JWK, PKCS#8, keystore) and write it to a new file in another.
    Convert {
        /// The key; only its owner may read the file.
        file: PathBuf,
        /// A file (mode 0600) with the passphrase of the key that is read.
        #[arg(long)]
        passphrase_file: Option<PathBuf>,
        #[command(flatten)]
        to: To,
    },
}

/// Where a private key goes, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct To {
    /// jwk, pkcs8 (PEM) or keystore (Ethereum's, version 3; secp256k1 alone).
    #[arg(long)]
    format: KeyFormat,
    /// The new file.
    #[arg(long, short)]
    output: PathBuf,
    /// A file (mode 0600) with the passphrase for the new file. A keystore needs one, pkcs8 may have one.
    #[arg(long)]
    protect: Option<PathBuf>,
}

#[allow(clippy::unused_async, reason = "as all commands")]
pub(crate) async fn run(command: Command, json: bool) -> anyhow::Result<()> {
    match command {
        Command::Show(at) => show(&open_wallet(&at.paths(), at.passphrase()?)?, json),
        Command::Export { at, role, project, to } => {
            let wallet = open_wallet(&at.paths(), at.passphrase()?)?;
            write(&of_role(&wallet, role, project.as_ref())?, &to, json)
        }
        Command::Convert { file, passphrase_file, to } => {
            let passphrase = passphrase_file.as_deref().map(Passphrase::from_file).transpose()?;
            let key = import_from(&file, passphrase.as_ref()).context(
                "no key was read; an encrypted one needs --passphrase-file FILE with its passphrase",
            )?;
            write(&key, &to, json)
        }
    }
}

fn show(wallet: &FileWallet, json: bool) -> anyhow::Result<()> {
    let keys = Role::ALL.into_iter().map(|role| Ok((role, wallet.public(role)?)));
    let keys = keys.collect::<anyhow::Result<Vec<_>>>()?;
    if json {
        let of = |(role, key): &(Role, PublicKey)| {
            let mut shown = describe(key);
            shown["role"] = role.name().into();
            shown
        };
        print_value(&Value::Array(keys.iter().map(of).collect()));
        return Ok(());
    }
    for (role, key) in &keys {
        let address = Address::of_key(key).map(|a| format!("  {a}")).unwrap_or_default();
        print(format!("{:12} {:7} {}{address}", role.name(), key.algorithm().name(), Did::key(key)));
    }
    Ok(())
}

fn describe(key: &PublicKey) -> Value {
    let address = Address::of_key(key).map(|a| a.to_string()).ok();
    json!({
        "algorithm": key.algorithm(), "did": Did::key(key), "jwk": key.to_jwk(), "address": address,
    })
}

fn of_role(wallet: &FileWallet, role: Role, project: Option<&ProjectName>) -> anyhow::Result<SecretKey> {
    let key = wallet.secret(role)?;
    match (role, project) {
        (_, None) => Ok(key.clone()),
        (Role::Fees, Some(name)) => {
            let owner = Did::key(&wallet.public(Role::Owner)?);
            Ok(project_fee_key(key, ProjectId::new(&owner, name))?)
        }
        (role, Some(_)) => {
            bail!(
                "--project belongs to --role fees: only that key differs from project to project, not {}",
                role.name()
            )
        }
    }
}

fn write(key: &SecretKey, to: &To, json: bool) -> anyhow::Result<()> {
    let passphrase = to.protect.as_deref().map(Passphrase::from_file).transpose()?;
    export_to(&to.output, key, to.format, passphrase.as_ref())?;
    report(&to.output, &key.public(), json);
    Ok(())
}

fn report(path: &Path, key: &PublicKey, json: bool) {
    if json {
        let mut shown = describe(key);
        shown["file"] = path.display().to_string().into();
        print_value(&shown);
        return;
    }
    let address = Address::of_key(key).map(|a| format!(", {a}")).unwrap_or_default();
    print(format!("Wrote the private key of {}{address} to {}.", Did::key(key), path.display()));
    print("Whoever reads that file can sign in its name: remove it as soon as it is where it belongs.");
}
