//! `project new|dev|check|deploy|list|account|sql|rollback|remove|status`.

mod remove;
mod versions;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Subcommand as ClapSubcommand;
use serde_json::{Value, json};
use w3bstream_types::{Control, Did, OperatorName, ProjectId, ProjectName, SecretKey};

use super::kits::{self, Language};
use super::{Where, dev, print, print_value};
use crate::{Admin, Loaded, ManifestFile, Registry};

#[derive(Debug, ClapSubcommand)]
pub(crate) enum Command {
    /// Make a project's folder with a manifest and a first applet.
    New {
        /// The project's name: a-z, 0-9 and '-'.
        name: ProjectName,
        /// The applet's language.
        #[arg(long, default_value = "rust")]
        lang: Language,
    },
    /// Run a throw-away node with the project, and build and deploy it again whenever a file changes.
    Dev(dev::DevArgs),
    /// Check a manifest and its modules without a node.
    Check {
        /// The project's folder or its w3bstream.toml.
        #[arg(default_value = ".")]
        path: PathBuf,
    },
    /// Sign the manifest as the owner, upload its modules and deploy it.
    Deploy {
        #[command(flatten)]
        at: Where,
        /// The project's folder or its w3bstream.toml.
        #[arg(default_value = ".")]
        path: PathBuf,
    },
    /// The projects of a node.
    List {
        #[command(flatten)]
        at: Where,
    },
    /// The account that pays for a project's transactions on every chain.
    Account {
        #[command(flatten)]
        at: Where,
        /// The project.
        name: ProjectName,
        /// The account of one of its operators instead.
        #[arg(long)]
        operator: Option<OperatorName>,
    },
    /// Read from a project's database: w3bstream project sql p "SELECT * FROM readings LIMIT 10"
    Sql {
        #[command(flatten)]
        at: Where,
        /// The project.
        name: ProjectName,
        /// A statement that only reads.
        statement: String,
    },
    /// Put an earlier version in force again: its applets and settings, at the next block. State and database stay.
    Rollback {
        #[command(flatten)]
        at: Where,
        /// The project.
        name: ProjectName,
        /// The version; else the one before that in force, or before the one that this one restored.
        #[arg(long)]
        to: Option<u64>,
    },
    /// Remove a project for ever: it takes no messages any more; what it has attested is finished, and stays to be read.
    Remove(remove::RemoveArgs),
    /// Let a project that was halted go on, with what it stopped at, when the node starts next.
    Resume {
        #[command(flatten)]
        at: Where,
        /// The project.
        name: ProjectName,
    },
    /// How a project is doing, what it waits for, and its last versions.
    Status {
        #[command(flatten)]
        at: Where,
        /// The project.
        name: ProjectName,
    },
}

/// Prints rows with tabs between the values, as other programs read them.
async fn sql(at: &Where, name: &ProjectName, (statement, json): (&str, bool)) -> anyhow::Result<()> {
    // All but letters and digits (RFC 3986, 2.1).
    let encode =
        |b: u8| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") };
    let statement: String = statement.bytes().map(encode).collect();
    let found = at.admin()?.get(&format!("/v1/projects/{name}/sql?statement={statement}")).await?;
    if json {
        print_value(&found);
        return Ok(());
    }
    let cells = |row: &Value| {
        let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), |s| s.replace(['\t', '\n'], " "));
        row.as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join("\t")
    };
    print(cells(&found["columns"]));
    found["rows"].as_array().into_iter().flatten().for_each(|row| print(cells(row)));
    Ok(())
}

pub(crate) async fn run(registry: Registry, command: Command, json: bool) -> anyhow::Result<()> {
    match command {
        Command::New { name, lang } => kits::new(&name, lang, json),
        Command::Dev(args) => dev::run(registry, args).await,
        Command::Check { path } => kits::check(&registry, &path, json),
        Command::Deploy { at, path } => deploy(&at, &path, json).await,
        Command::List { at } => {
            let projects = at.admin()?.get("/v1/projects").await?;
            if json {
                print_value(&projects);
                return Ok(());
            }
            let rows = projects.as_array().map(Vec::as_slice).unwrap_or_default();
            if rows.is_empty() {
                print("No project yet. Deploy one: w3bstream project deploy PATH");
            }
            rows.iter().for_each(|p| print(line(p)));
            Ok(())
        }
        Command::Sql { at, name, statement } => sql(&at, &name, (&statement, json)).await,
        Command::Account { at, name, operator } => {
            let query = operator.map(|name| format!("?operator={name}")).unwrap_or_default();
            let account = at.admin()?.get(&format!("/v1/projects/{name}/account{query}")).await?;
            if json {
                print_value(&account)
            } else {
                print(account["account"].as_str().unwrap_or("-"))
            }
            Ok(())
        }
        Command::Resume { at, name } => {
            let lifted = at.admin()?.post(&format!("/v1/projects/{name}/resume"), vec![]).await?;
            if json {
                print_value(&lifted);
            } else {
                let why = lifted["halted"].as_str().unwrap_or_default();
                print(format!("{name} goes on when the node starts next. It was halted: {why}"));
            }
            Ok(())
        }
        Command::Status { at, name } => {
            let admin = at.admin()?;
            let mut project = admin.get(&format!("/v1/projects/{name}")).await?;
            let versions = admin.get(&format!("/v1/projects/{name}/versions")).await?;
            project["versions"] = versions["versions"].clone();
            if json {
                print_value(&project)
            } else {
                details(&project);
                versions::list(&project["versions"]);
            }
            Ok(())
        }
        Command::Remove(args) => remove::run(&args, json).await,
        Command::Rollback { at, name, to } => versions::roll_back(&at, &name, (to, json)).await,
    }
}

fn line(p: &Value) -> String {
    let text = |name: &str| p[name].as_str().unwrap_or("-").to_owned();
    format!(
        "{:20} {:8} height {:>8}  attested {:>8}  {}",
        text("name"),
        text("state"),
        p["height"],
        p["attested"],
        text("reason")
    )
}

fn details(p: &Value) {
    let text = |name: &str| p[name].as_str().unwrap_or("-").to_owned();
    print(format!("{}  {}: {}", text("name"), text("state"), text("reason")));
    for name in ["id", "owner", "genesis", "consensus", "ack"] {
        print(format!("  {name:12} {}", text(name)));
    }
    for name in ["version", "members", "devices", "height", "applied", "attested"] {
        print(format!("  {name:12} {}", p[name]));
    }
    for trigger in p["triggers"].as_array().into_iter().flatten() {
        let text = |name: &str| trigger[name].as_str().unwrap_or("-").to_owned();
        let reason = match (trigger["done"] == true, trigger["reason"].as_str().unwrap_or("")) {
            (true, _) => "done".to_owned(),
            (_, "") => format!("next {}", trigger["next"]),
            (_, why) => why.to_owned(),
        };
        print(format!(
            "  trigger {:24} {:11} {:>8} told  {reason}",
            text("name"),
            text("kind"),
            trigger["told"]
        ));
    }
    for group in ["counters", "refused"] {
        for (name, value) in p[group].as_object().into_iter().flatten() {
            print(format!("  {name:32} {value}"));
        }
    }
}

async fn deploy(at: &Where, path: &Path, json: bool) -> anyhow::Result<()> {
    let (admin, owner) = (at.admin()?, at.owner()?);
    let loaded = ManifestFile::load(path, &Did::key(&owner.public()))?;
    let deployed = submit(&admin, &owner, loaded).await?;
    let Deployed { name, id, version, height } = &deployed;
    if json {
        print_value(&json!({"project": name, "id": id, "version": version, "height": height}));
    } else {
        print(format!(
            "Deployed {name} version {version} at height {height}.\n  id  {id}   (the audience that devices sign)"
        ));
        print(format!("Next: w3bstream device add --project {name} KEYFILE"));
    }
    Ok(())
}

/// What was deployed.
pub(crate) struct Deployed {
    pub(crate) name: ProjectName,
    pub(crate) id: ProjectId,
    pub(crate) version: u64,
    pub(crate) height: u64,
}

/// Uploads what a manifest names and deploys it as the next version.
pub(crate) async fn submit(admin: &Admin, owner: &SecretKey, loaded: Loaded) -> anyhow::Result<Deployed> {
    let mut manifest = loaded.manifest;
    for (digest, module) in loaded.modules {
        let users = manifest.applets.iter().filter(|a| a.program == digest).map(|a| a.name.as_str());
        let users: Vec<&str> = users.collect();
        admin.put_program(module).await.with_context(|| format!("applet {}", users.join(", ")))?;
    }
    for circuit in loaded.circuits {
        admin.put_circuit(circuit.witness).await?;
        admin.put_circuit(circuit.key).await?;
    }
    let name = manifest.name.clone();
    let current = admin.get("/v1/projects").await?;
    let current = current.as_array().into_iter().flatten().find(|p| p["name"] == name.as_str());
    if let Some(current) = current {
        let holder = current["owner"].as_str().unwrap_or("");
        if holder != manifest.owner.as_str() {
            bail!(
                "the project {name} belongs to {holder}; the owner's key of this folder is {}",
                manifest.owner
            );
        }
        manifest.version = current["version"].as_u64().unwrap_or(0) + 1;
    }
    let (id, version) = (manifest.project(), manifest.version);
    let height = admin.change(&name, Control::Deploy(Box::new(manifest)), owner).await?;
    Ok(Deployed { name, id, version, height })
}
