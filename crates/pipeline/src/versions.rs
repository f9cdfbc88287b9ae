//! Which manifests were in force, from which height on.
//!
//! A block that orders a deployment is written together with a record that names it, so the history needs no search
//! through all blocks. Whether the deployment was accepted stands among its block's outputs.

use std::collections::BTreeMap;

use serde::Serialize;
use w3bstream_journal::{Journal, RecordId, Write};
use w3bstream_types::{
    AppletName, Block, Canonical as _, Control, ControlTx, Did, Digest, Entry, Manifest, OutputKind,
    ProjectId, Timestamp,
};

use crate::{Error, ErrorKind, Pipeline};

/// Deployments by height and place in the block.
const SPACE: &str = "deployments";
/// How many of the last deployments are looked at.
const MOST: usize = 1000;
/// Records that are read at once.
const PAGE: usize = 1000;

/// A manifest that was put in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VersionView {
    /// Its number.
    pub version: u64,
    /// The block that put it in force: this block's messages are its first.
    pub height: u64,
    /// That block's time.
    pub time: Timestamp,
    /// Who signed it.
    pub by: Did,
    /// The control transaction.
    pub control: Digest,
    /// The manifest's digest, which is attested with every block.
    pub manifest: Digest,
    /// What it runs: each applet with the SHA-256 of its program.
    pub applets: BTreeMap<AppletName, Digest>,
    /// The version before it that said the same, apart from number and database: it was rolled back to.
    pub restores: Option<u64>,
}

fn id(project: ProjectId, height: u64, place: u64) -> RecordId {
    let key = [height.to_be_bytes(), place.to_be_bytes()].concat();
    RecordId { project, space: SPACE, key }
}

/// The writes that name a block's deployments. They belong into the batch that writes the block.
pub(crate) async fn note(
    journal: &dyn Journal,
    project: ProjectId,
    block: &Block,
) -> Result<Vec<Write>, Error> {
    let mut writes = Vec::new();
    for (place, entry) in (0..).zip(block.entries()) {
        let Entry::Control(control) = entry else { continue };
        let tx = journal.control(*control).await?;
        if tx.is_some_and(|tx| matches!(tx.change, Control::Deploy(_))) {
            let value = control.as_bytes().to_vec();
            writes.push(Write::Record(id(project, block.header().height, place), Some(value)));
        }
    }
    Ok(writes)
}

/// Names the deployments of a project whose blocks were written by a node that did not.
pub(crate) async fn find_old(journal: &dyn Journal, project: ProjectId) -> Result<(), Error> {
    let first = RecordId { project, space: SPACE, key: Vec::new() };
    if !journal.records(&first, 1).await?.is_empty() {
        return Ok(());
    }
    let mut writes = Vec::new();
    for height in 1..=journal.last_height(project).await? {
        let Some(certified) = journal.block(project, height).await? else { continue };
        writes.extend(note(journal, project, &certified.block).await?);
    }
    Ok(journal.commit(writes).await?)
}

/// (height, control transaction) of the last deployments that were ordered, oldest first.
async fn ordered(journal: &dyn Journal, project: ProjectId) -> Result<Vec<(u64, Digest)>, Error> {
    let mut after = RecordId { project, space: SPACE, key: Vec::new() };
    let mut found = std::collections::VecDeque::new();
    loop {
        let page = journal.records(&after, PAGE).await?;
        let full = page.len() == PAGE;
        for (key, value) in page {
            let height = key.first_chunk::<8>().map_or(0, |h| u64::from_be_bytes(*h));
            found.push_back((height, Digest::from_slice(&value)?));
            if found.len() > MOST {
                found.pop_front();
            }
            after.key = key;
        }
        if !full {
            return Ok(found.into());
        }
    }
}

/// What a manifest says, apart from its number, and from its database, which no rollback takes away.
fn content(manifest: &Manifest) -> Digest {
    Manifest { version: 0, database: None, ..manifest.clone() }.digest()
}

impl Pipeline {
    /// The versions that were in force with what their owner signed, the newest first.
    async fn deployments(&self, project: ProjectId) -> Result<Vec<(VersionView, ControlTx)>, Error> {
        let parts = &self.0.parts;
        let (mut all, mut known) = (Vec::new(), BTreeMap::new());
        for (height, control) in ordered(&*parts.journal, project).await? {
            let Some((_, _, outputs)) = parts.vfs.result(project, height).await? else { continue };
            let mine = |o: &w3bstream_types::Output| {
                o.kind == OutputKind::Control && o.target == control.as_bytes() && o.data.is_empty()
            };
            let (true, Some(tx)) = (outputs.iter().any(mine), parts.journal.control(control).await?) else {
                continue;
            };
            let Control::Deploy(manifest) = &tx.change else { continue };
            let block = parts.journal.block(project, height).await?;
            let time = block.map_or(Timestamp::NONE, |b| b.block.header().time);
            let view = VersionView {
                version: manifest.version,
                height,
                time,
                by: manifest.owner.clone(),
                control,
                manifest: manifest.digest(),
                applets: manifest.applets.iter().map(|a| (a.name.clone(), a.program)).collect(),
                restores: known.get(&content(manifest)).copied(),
            };
            known.entry(content(manifest)).or_insert(manifest.version);
            all.push((view, tx));
        }
        all.reverse();
        Ok(all)
    }

    /// The versions of a project that were put in force, the newest first, at most `limit` of the last 1,000.
    ///
    /// # Errors
    /// [`Error`] if the journal cannot be read.
    pub async fn versions(&self, project: ProjectId, limit: usize) -> Result<Vec<VersionView>, Error> {
        Ok(self.deployments(project).await?.into_iter().take(limit).map(|(view, _)| view).collect())
    }

    /// The owner's deployment that put a version in force, as it was signed.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if no such version was in force.
    pub async fn version(&self, project: ProjectId, version: u64) -> Result<ControlTx, Error> {
        let found = self.deployments(project).await?.into_iter().find(|(view, _)| view.version == version);
        let unknown = || {
            Error::new(ErrorKind::NotFound, format!("version {version} of the project was never in force"))
        };
        Ok(found.ok_or_else(unknown)?.1)
    }
}
