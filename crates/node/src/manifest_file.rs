//! `w3bstream.toml`: a project's manifest as people write it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use w3bstream_types::{
    AckMode, Address, Applet, AppletName, BatchRule, BlockRules, ChainRule, CronTrigger, Database, Did,
    Digest, EventType, Field, GuestLimits, HeightTrigger, LogTrigger, Manifest, Partition, ProjectName,
    ProofRule, Route, SentTrigger, Settlement, SettlementName, TransactionTrigger, Trigger, TriggerName,
    TriggerOn,
};

use crate::config::explain;

/// The file's name in a project's folder.
pub(crate) const FILE: &str = "w3bstream.toml";

/// What stands in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ManifestFile {
    /// The project's name: `[a-z0-9-]{1,63}`.
    pub name: ProjectName,
    /// What an acknowledgement promises.
    #[serde(default = "durable")]
    pub ack: AckMode,
    /// The largest payload, in bytes.
    #[serde(default = "max_payload")]
    pub max_payload_bytes: u64,
    /// Whether publishers with a token may send.
    #[serde(default)]
    pub allow_tokens: bool,
    /// Whether devices may send in a session.
    #[serde(default)]
    pub allow_sessions: bool,
    /// When a block is closed.
    #[serde(default)]
    pub blocks: BlockRules,
    /// Settings for the guests.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The applets, in the order in which they run.
    #[serde(default)]
    pub applets: Vec<AppletFile>,
    /// What guests may settle on a chain.
    #[serde(default)]
    pub settlements: Vec<SettlementFile>,
    /// What guests may do on chains, beside settling.
    #[serde(default)]
    pub chains: Vec<ChainRule>,
    /// What guests are told of that no device sends.
    #[serde(default)]
    pub triggers: Vec<TriggerFile>,
    /// The project's database, if its applets use one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<Database>,
}

/// A trigger; see [`Trigger`]. Of `log`, `height`, `transaction`, `cron` and `sent` there is one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TriggerFile {
    /// Its name.
    pub name: TriggerName,
    /// The event type of its messages.
    pub event_type: EventType,
    /// Events of a contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogTrigger>,
    /// A chain's height.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<HeightTrigger>,
    /// One transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<TransactionTrigger>,
    /// The time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<CronTrigger>,
    /// Transactions that the project's guests asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<SentTrigger>,
}

impl TriggerFile {
    fn trigger(self) -> anyhow::Result<Trigger> {
        let Self { name, event_type, log, height, transaction, cron, sent } = self;
        let given = [
            log.map(TriggerOn::Log),
            height.map(TriggerOn::Height),
            transaction.map(TriggerOn::Transaction),
            cron.map(TriggerOn::Cron),
            sent.map(TriggerOn::Sent),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(on), None) => Ok(Trigger { name, event_type, on }),
            _ => bail!(
                "trigger {name}: give it one of log, height, transaction, cron and sent, such as: \
                 cron = {{ schedule = \"0 * * * *\" }}"
            ),
        }
    }
}

/// A settlement; see [`Settlement`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SettlementFile {
    /// Its name.
    pub name: SettlementName,
    /// The chain, by its EIP-155 id.
    pub chain_id: u64,
    /// The Executor contract.
    pub executor: Address,
    /// The contract that acts on the statement.
    pub contract: Address,
    /// The statement's fields, such as `"uint32 day"`.
    pub fields: Vec<Field>,
    /// How it is proven.
    pub proof: Option<ProofFile>,
}

/// How a statement is proven; see [`ProofRule`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProofFile {
    /// The proof system, such as `groth16-bn254`.
    pub system: String,
    /// The circuit's witness program, as a path from this file.
    pub witness: PathBuf,
    /// The circuit's proving key, as a path from this file.
    pub key: PathBuf,
    /// The key under which the guest keeps the private inputs.
    pub private: String,
    /// For how many statements a proof waits.
    pub batch: Option<BatchRule>,
}

impl SettlementFile {
    /// The rule, with what the files that it names hold.
    fn with_circuit(self, circuit: Option<&Circuit>) -> Settlement {
        let proof = self.proof.zip(circuit).map(|(proof, circuit)| ProofRule {
            system: proof.system,
            witness: Digest::of(&circuit.witness),
            key: Digest::of(&circuit.key),
            private: proof.private,
            batch: proof.batch,
        });
        let Self { name, chain_id, executor, contract, fields, .. } = self;
        Settlement { name, chain_id, executor, contract, fields, proof }
    }
}

/// The files of a circuit.
#[derive(Clone, Debug)]
pub struct Circuit {
    /// The witness program.
    pub witness: Vec<u8>,
    /// The proving key.
    pub key: Vec<u8>,
}

/// One applet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AppletFile {
    /// Its name.
    pub name: AppletName,
    /// Its WebAssembly module, as a path from this file.
    pub module: PathBuf,
    /// What the module must be: its SHA-256, in hex. Another file is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// Its routes.
    pub routes: Vec<Route>,
    /// Limits of each call.
    #[serde(default)]
    pub limits: GuestLimits,
    /// Into what its state is split, so that its calls need not all run one after the other.
    #[serde(default, skip_serializing_if = "Partition::is_none")]
    pub partition: Partition,
}

const fn durable() -> AckMode {
    AckMode::Durable
}

const fn max_payload() -> u64 {
    64 * 1024
}

/// A manifest with the modules that it names.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The manifest; its version is set by the caller.
    pub manifest: Manifest,
    /// The modules, by digest.
    pub modules: BTreeMap<Digest, Vec<u8>>,
    /// The files of the circuits that it names.
    pub circuits: Vec<Circuit>,
}

impl ManifestFile {
    /// Reads text; `name` stands for the file in errors.
    ///
    /// # Errors
    /// What is wrong, with the line and the nearest known key.
    pub fn parse(text: &str, name: &str) -> anyhow::Result<Self> {
        toml::from_str(text).map_err(|e| explain(&e, text, name))
    }

    /// Reads a project's folder or its file, and the modules.
    ///
    /// # Errors
    /// What is wrong, with file and line.
    pub fn load(path: &Path, owner: &Did) -> anyhow::Result<Loaded> {
        let path = if path.is_dir() { path.join(FILE) } else { path.to_owned() };
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("cannot read {}; make a project with: w3bstream project new NAME", path.display())
        })?;
        let file = Self::parse(&text, &path.display().to_string())?;
        let base = path.parent().unwrap_or(Path::new("."));
        let read = |applet: &AppletFile| {
            let at = base.join(&applet.module);
            let bytes = std::fs::read(&at);
            bytes.with_context(|| format!("applet {}: cannot read its module {}", applet.name, at.display()))
        };
        let modules = file.applets.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
        let read = |settlement: &SettlementFile, path: &Path| {
            let at = base.join(path);
            let bytes = std::fs::read(&at);
            let what =
                || format!("settlement {}: cannot read its circuit's {}", settlement.name, at.display());
            bytes.with_context(what)
        };
        let proven = file.settlements.iter().filter_map(|s| Some((s, s.proof.as_ref()?)));
        let circuits = proven
            .map(|(s, p)| Ok(Circuit { witness: read(s, &p.witness)?, key: read(s, &p.key)? }))
            .collect::<anyhow::Result<Vec<_>>>()?;
        file.with_files(owner, modules, circuits)
    }

    /// The manifest, with these modules for its applets and these circuits for its settlements that have a proof, in
    /// order.
    ///
    /// # Errors
    /// What the manifest's rules do not allow.
    pub fn with_files(
        self,
        owner: &Did,
        modules: Vec<Vec<u8>>,
        circuits: Vec<Circuit>,
    ) -> anyhow::Result<Loaded> {
        if modules.len() != self.applets.len() {
            bail!("{} applets, but {} modules", self.applets.len(), modules.len());
        }
        let proven = self.settlements.iter().filter(|s| s.proof.is_some()).count();
        if circuits.len() != proven {
            bail!("{proven} settlements with a proof, but {} circuits", circuits.len());
        }
        let mut left = circuits.iter();
        let settlements = self.settlements.into_iter().map(|s| {
            let circuit = s.proof.is_some().then(|| left.next()).flatten();
            s.with_circuit(circuit)
        });
        let settlements = settlements.collect();
        let digests: Vec<Digest> = modules.iter().map(|m| Digest::of(m)).collect();
        for (applet, found) in self.applets.iter().zip(&digests) {
            if let Some(wanted) = applet.sha256.filter(|wanted| wanted != found) {
                let (name, module) = (&applet.name, applet.module.display());
                bail!(
                    "applet {name}: sha256 is {wanted}, and {module} has {found}: it is not the file that was meant"
                );
            }
        }
        let applet = |(a, program): (AppletFile, &Digest)| Applet {
            name: a.name,
            program: *program,
            routes: a.routes,
            limits: a.limits,
            partition: a.partition,
        };
        let manifest = Manifest {
            name: self.name,
            owner: owner.clone(),
            version: 1,
            ack: self.ack,
            max_payload_bytes: self.max_payload_bytes,
            allow_tokens: self.allow_tokens,
            allow_sessions: self.allow_sessions,
            blocks: self.blocks,
            env: self.env.into_iter().collect(),
            applets: self.applets.into_iter().zip(&digests).map(applet).collect(),
            settlements,
            chains: self.chains,
            triggers: self.triggers.into_iter().map(TriggerFile::trigger).collect::<anyhow::Result<_>>()?,
            database: self.database,
        };
        manifest.check()?;
        Ok(Loaded { manifest, modules: digests.into_iter().zip(modules).collect(), circuits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_nearest_known_one() {
        let error = ManifestFile::parse("name = \"p\"\nallow-token = true\n", "w3bstream.toml").unwrap_err();
        let error = error.to_string();
        assert!(error.contains("line 2") && error.contains("did you mean \"allow-tokens\"?"), "{error}");
    }

    #[test]
    fn a_bad_name_is_refused_with_what_it_may_be() {
        let error = ManifestFile::parse("name = \"My Project\"\n", "w3bstream.toml").unwrap_err().to_string();
        assert!(error.contains("line 1") && error.contains("a-z"), "{error}");
    }

    #[test]
    fn a_database_is_read() {
        let text = r#"
            name = "p"
            [database]
            max-bytes = 1000000
            [[database.tables]]
            name = "readings"
            columns = [
                { name = "id", datatype = "int64", autoincrement = true },
                { name = "device", datatype = "text" },
                { name = "celsius", datatype = "float64", null = true },
            ]
            keys = [{ name = "by_device", columns = ["device", "id"] }]
        "#;
        let owner: Did = "did:web:example.org".parse().unwrap();
        let load =
            |text: &str| ManifestFile::parse(text, "w3bstream.toml")?.with_files(&owner, vec![], vec![]);
        let database = load(text).unwrap().manifest.database.unwrap();
        assert_eq!((database.max_bytes, database.tables[0].columns.len()), (1_000_000, 3));
        let wrong = load(&text.replace("float64", "real")).unwrap_err().to_string();
        assert!(wrong.contains("float64"), "{wrong}");
        let wrong = load(&text.replace("\"device\", \"id\"", "\"divice\"")).unwrap_err().to_string();
        assert!(wrong.contains("names divice"), "{wrong}");
    }

    fn triggers(text: &str) -> anyhow::Result<Vec<Trigger>> {
        let file = ManifestFile::parse(&format!("name = \"p\"\n{text}"), "w3bstream.toml")?;
        let owner: Did = "did:web:example.org".parse().unwrap();
        Ok(file.with_files(&owner, vec![], vec![])?.manifest.triggers)
    }

    #[test]
    fn triggers_of_each_kind_are_read() {
        let text = r#"
            [[triggers]]
            name = "transfers"
            event-type = "transfer"
            log = { chain-id = 1, contract = "0x00000000000000000000000000000000000000c0", event = "T(address)" }
            [[triggers]]
            name = "later"
            event-type = "e"
            height = { chain-id = 1, height = 5, every = 2, confirmations = 1 }
            [[triggers]]
            name = "paid"
            event-type = "e"
            transaction = { chain-id = 1, hash = "0x0101010101010101010101010101010101010101010101010101010101010101" }
            [[triggers]]
            name = "hourly"
            event-type = "e"
            cron = { schedule = "0 * * * *" }
        "#;
        let read = triggers(text).unwrap();
        let kinds: Vec<_> = read.iter().map(Trigger::kind).collect();
        assert_eq!(kinds, ["log", "height", "transaction", "cron"]);
        let TriggerOn::Log(log) = &read[0].on else { unreachable!() };
        assert_eq!((log.confirmations, log.start_block), (12, None), "what is not given");
    }

    #[test]
    fn a_trigger_on_nothing_or_on_two_things_is_refused_with_its_name() {
        let cron = "cron = { schedule = \"* * * * *\" }";
        let height = "height = { chain-id = 1, height = 1 }";
        for on in [String::new(), format!("{cron}\n{height}")] {
            let text = format!("[[triggers]]\nname = \"t\"\nevent-type = \"e\"\n{on}\n");
            let error = triggers(&text).unwrap_err().to_string();
            assert!(error.contains("trigger t") && error.contains("cron ="), "{error}");
        }
        let misspelt = "[[triggers]]\nname = \"t\"\nevent-type = \"e\"\ncron = { scedule = \"* * * * *\" }";
        let error = triggers(misspelt).unwrap_err().to_string();
        assert!(error.contains("line 5") && error.contains("schedule"), "{error}");
    }

    #[test]
    fn the_example_of_the_repository_is_read() {
        let path = Path::new("../../examples/cold-chain");
        let owner: Did = "did:web:example.org".parse().unwrap();
        let loaded = ManifestFile::load(path, &owner).unwrap();
        assert_eq!(loaded.manifest.name.as_str(), "cold-chain");
        assert_eq!(loaded.modules.len(), 1);
    }
}
