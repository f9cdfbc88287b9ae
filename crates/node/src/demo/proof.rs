//! One message's receipt, verified as a reader would: with anchors that come from elsewhere than the receipt.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::Value;
use w3bstream_types::receipt::{Anchors, ChainBlock, Receipt};
use w3bstream_types::{Digest, Form, MessageId, ProjectId, Record};

use super::chain::DemoChain;
use super::{Device, Say, message};
use crate::Admin;
use crate::cli::proofs;

/// The files that the demo leaves for whoever wants to check.
pub(super) struct Files {
    pub(super) receipt: PathBuf,
    pub(super) anchors: PathBuf,
    /// The circuit's proving key.
    pub(super) key: PathBuf,
}

impl Files {
    pub(super) fn of(dir: &Path) -> Self {
        let at = |name: &str| dir.join(name);
        Self { receipt: at("receipt.json"), anchors: at("anchors.toml"), key: at("cold-chain-day.zkey") }
    }

    /// The command that verifies the receipt.
    pub(super) fn command(&self) -> String {
        let Self { receipt, anchors, key } = self;
        let (receipt, anchors, key) = (receipt.display(), anchors.display(), key.display());
        format!("w3bstream receipt verify {receipt} --trust {anchors} --key {key}")
    }
}

/// The message that closed its device's first day, and so settled it; the last one if all are of one day.
pub(super) fn chosen_message(devices: &[Device], project: ProjectId) -> anyhow::Result<MessageId> {
    let device = devices.first().context("no device")?;
    let day = |at: usize| device.readings.get(at).map(|r| r.time.div_euclid(86_400_000));
    let last = device.readings.len().checked_sub(1).context("the device has no reading")?;
    let at = (1..last).find(|at| day(*at) != day(0)).unwrap_or(last);
    Ok(Record::new(Form::Envelope(message(device, project, at)?)).id())
}

/// What the demo knows without the receipt.
pub(super) struct Known<'a> {
    pub(super) devices: &'a [Device],
    pub(super) project: &'a Value,
    pub(super) program: Digest,
    pub(super) chain: &'a DemoChain,
}

/// Fetches the receipt, writes it down with its anchors, and verifies what was written.
pub(super) async fn prove(
    (say, admin): (&Say, &Admin),
    files: &Files,
    id: MessageId,
    known: &Known<'_>,
) -> anyhow::Result<()> {
    let bytes = admin.get_bytes(&format!("/v1/receipts/{id}")).await?;
    std::fs::write(&files.receipt, &bytes)?;
    std::fs::write(&files.key, super::chain::circuit().key)?;
    let receipt = Receipt::from_json(&std::fs::read(&files.receipt)?)?;
    let anchors = Anchors {
        devices: known.devices.iter().map(|d| d.key.did()).collect(),
        genesis: vec![known.project["genesis"].as_str().unwrap_or("").parse()?],
        programs: vec![known.program],
        blocks: blocks(&receipt, known.chain).await?,
        ..Anchors::default()
    };
    std::fs::write(&files.anchors, toml::to_string(&anchors)?)?;
    let keys = proofs(std::slice::from_ref(&files.key))?;
    let report = w3bstream_verify::verify(&receipt, Some(&anchors), &keys).await;
    for link in &report.links {
        say.done(&format!("{:12} {}", link.link.name(), link.verdict));
    }
    if !report.is_ok() || !report.anchored() {
        let why = report
            .first_broken()
            .map_or("it is not anchored".to_owned(), |(l, w)| format!("{}: {w}", l.name()));
        bail!("the receipt does not verify: {why}");
    }
    Ok(())
}

/// The blocks of the settlements' transactions, as the chain tells them to the demo itself.
async fn blocks(receipt: &Receipt, chain: &DemoChain) -> anyhow::Result<Vec<ChainBlock>> {
    let mut blocks = Vec::new();
    for link in &receipt.settlements {
        let transaction = w3bstream_chain::Hash::from_bytes(link.transaction);
        let mined = chain.chain.receipt(transaction).await?;
        let mined = mined.with_context(|| format!("the chain has no transaction {transaction}"))?;
        blocks.push(ChainBlock { chain_id: chain.id, hash: *mined.block.as_bytes() });
    }
    Ok(blocks)
}
