//! `receipt get|verify`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Subcommand as ClapSubcommand;
use serde_json::json;
use w3bstream_prover::Prover;
use w3bstream_prover_groth16::{Config as Groth16Config, Groth16Prover};
use w3bstream_types::{
    Canonical as _, MessageId,
    receipt::{Anchors, Receipt},
};

use w3bstream_verify::Proofs;

use super::{Where, print, print_value};

#[derive(Debug, ClapSubcommand)]
pub(crate) enum Command {
    /// Fetch the receipt of an attested message.
    Get {
        #[command(flatten)]
        at: Where,
        /// The message's id.
        id: MessageId,
        /// Put the payload (and its salt) in too.
        #[arg(long)]
        payload: bool,
        /// Leave away what is settled of the message: then no chain is asked.
        #[arg(long)]
        no_settlements: bool,
        /// Write it here instead of printing it.
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
    /// Check a receipt offline and say of each link what it rests on.
    Verify {
        /// The receipt: JSON or CBOR.
        file: PathBuf,
        /// What you know from elsewhere: devices, genesis, programs, blocks of chains (TOML or JSON).
        #[arg(long)]
        trust: Option<PathBuf>,
        /// A circuit's proving key (.zkey), to verify proofs with. May be given several times.
        #[arg(long)]
        key: Vec<PathBuf>,
        /// Be content with a receipt that is consistent in itself. Anybody can make one.
        #[arg(long)]
        self_consistent: bool,
    },
}

pub(crate) async fn run(command: Command, json: bool) -> anyhow::Result<()> {
    match command {
        Command::Get { at, id, payload, no_settlements, output } => {
            let query = format!("payload={payload}&settlements={}", !no_settlements);
            let bytes = at.admin()?.get_bytes(&format!("/v1/receipts/{id}?{query}")).await?;
            match output {
                Some(path) => {
                    std::fs::write(&path, &bytes).with_context(|| path.display().to_string())?;
                    print(format!("Wrote {}", path.display()));
                }
                None => print(String::from_utf8_lossy(&bytes)),
            }
            Ok(())
        }
        Command::Verify { file, trust, key, self_consistent } => {
            verify((&file, trust.as_deref(), &key), self_consistent, json).await
        }
    }
}

fn read_anchors(path: &Path) -> anyhow::Result<Anchors> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    if path.extension().is_some_and(|e| e == "json") {
        return serde_json::from_str(&text).with_context(|| path.display().to_string());
    }
    toml::from_str(&text).map_err(|e| crate::config::explain(&e, &text, &path.display().to_string()))
}

/// The prover that verifies, with the keys in these files.
pub(crate) fn proofs(keys: &[PathBuf]) -> anyhow::Result<Proofs> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map(Arc::from).with_context(|| format!("cannot read {}", path.display()))
    };
    let keys = keys.iter().map(read).collect::<anyhow::Result<Vec<Arc<[u8]>>>>()?;
    let mut provers: Vec<Arc<dyn Prover>> = Vec::new();
    if !keys.is_empty() {
        provers.push(Arc::new(Groth16Prover::start(&Groth16Config::default())?));
    }
    Ok(Proofs { provers, keys })
}

async fn verify(
    (file, trust, keys): (&Path, Option<&Path>, &[PathBuf]),
    self_consistent: bool,
    json: bool,
) -> anyhow::Result<()> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let read = if bytes.first() == Some(&b'{') {
        Receipt::from_json(&bytes)
    } else {
        Receipt::from_canonical(&bytes)
    };
    let receipt = read.with_context(|| file.display().to_string())?;
    let anchors = trust.map(read_anchors).transpose()?;
    let report = w3bstream_verify::verify(&receipt, anchors.as_ref(), &proofs(keys)?).await;
    if json {
        let links =
            report.links.iter().map(|l| json!({"link": l.link.name(), "verdict": l.verdict.to_string()}));
        print_value(&json!({
            "id": report.id, "ok": report.is_ok(), "anchored": report.anchored(), "links": links.collect::<Vec<_>>(),
        }));
    } else {
        print(format!("message {}", report.id));
        report.links.iter().for_each(|l| print(format!("  {:14} {}", l.link.name(), l.verdict)));
    }
    if let Some((link, why)) = report.first_broken() {
        bail!("the link {} is broken: {why}", link.name());
    }
    if !report.anchored() && !self_consistent {
        let missing: Vec<&str> = report.unanchored.iter().map(|l| l.name()).collect();
        bail!(
            "consistent, not anchored: nothing from outside the file speaks for {}; give --trust ANCHORS, or \
             --self-consistent if that is enough for you",
            missing.join(", ")
        );
    }
    if !json {
        print(if report.anchored() { "The receipt holds." } else { "Consistent in itself; not anchored." });
    }
    Ok(())
}
