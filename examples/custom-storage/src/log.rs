//! The file: one frame for each batch, `length ‖ inverted length ‖ SHA-256 of the body ‖ body`.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use w3bstream_storage::{Error, ErrorKind, Item};
use w3bstream_types::{Canonical, Digest, Record, Timestamp, Trust};

const HEAD: usize = 4 + 4 + 32;

#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    /// Where the last sound frame ends; `None` if that is not known any more.
    end: Option<u64>,
}

fn io(path: &Path, e: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, path.display().to_string()).with_source(e)
}

impl Log {
    /// Opens the file for appending and gives the batches that it holds. A last frame that was cut off by a
    /// crash was acknowledged to nobody, and is removed.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<Vec<Item>>), Error> {
        let file = OpenOptions::new().append(true).create(true).open(path).map_err(|e| io(path, e))?;
        let (batches, end) = read(path)?;
        let cut = || {
            file.set_len(end)?;
            file.sync_all()?;
            // The file's own entry in its directory must survive too.
            let directory = path.parent().filter(|p| !p.as_os_str().is_empty());
            File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
        };
        cut().map_err(|e| io(path, e))?;
        Ok((Self { path: path.to_owned(), file, end: Some(end) }, batches))
    }

    /// Durable when it returns. If it fails, nothing of the batch stays in the file.
    pub(crate) fn append(&mut self, items: &[Item]) -> Result<(), Error> {
        let Some(end) = self.end else {
            let what =
                format!("{}: an earlier write could not be undone; restart the node", self.path.display());
            return Err(Error::new(ErrorKind::Io, what));
        };
        if items.is_empty() {
            return Ok(());
        }
        let frame = frame(items)?;
        match self.file.write_all(&frame).and_then(|()| self.file.sync_data()) {
            Ok(()) => self.end = Some(end + frame.len() as u64),
            Err(e) => {
                // The next frame must not follow half a one.
                let undone = self.file.set_len(end).and_then(|()| self.file.sync_data());
                self.end = undone.is_ok().then_some(end);
                return Err(io(&self.path, e));
            }
        }
        Ok(())
    }
}

fn frame(items: &[Item]) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    for item in items {
        let record = item.record.to_canonical();
        body.push(item.trust.number());
        body.extend(item.received_at.0.to_be_bytes());
        body.extend((record.len() as u64).to_be_bytes());
        body.extend(record);
    }
    let length = u32::try_from(body.len())
        .map_err(|_| Error::new(ErrorKind::Unsupported, "a batch must be smaller than 4 GiB"))?;
    let digest = Digest::of(&body);
    Ok([&length.to_be_bytes()[..], &(!length).to_be_bytes(), digest.as_bytes(), &body].concat())
}

/// Every whole batch of the file, and where the last of them ends.
pub(crate) fn read(path: &Path) -> Result<(Vec<Vec<Item>>, u64), Error> {
    let bytes = std::fs::read(path).map_err(|e| io(path, e))?;
    let damaged = |at: usize, why: &str| {
        let what = format!("{} is damaged at byte {at}: {why}; restore a backup", path.display());
        Error::new(ErrorKind::Corrupt, what)
    };
    let (mut batches, mut at) = (Vec::new(), 0);
    while let Some((head, rest)) = bytes[at..].split_at_checked(HEAD) {
        let number = |i: usize| u32::from_be_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
        let length = number(0);
        // The length says whether a frame is cut off, so it must not be trusted if a bit of it has flipped.
        if length != !number(4) {
            return Err(damaged(at, "the head of a frame is wrong"));
        }
        let Some(body) = rest.get(..length as usize) else { break };
        if Digest::of(body).as_bytes() != &head[8..] {
            return Err(damaged(at, "a frame is not that of its digest"));
        }
        batches.push(items(body).ok_or_else(|| damaged(at, "a frame holds no items"))?);
        at += HEAD + body.len();
    }
    Ok((batches, at as u64))
}

fn items(mut body: &[u8]) -> Option<Vec<Item>> {
    let mut items = Vec::new();
    while !body.is_empty() {
        let (trust, rest) = body.split_first()?;
        let (time, rest) = rest.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let (record, rest) = rest.split_at_checked(usize::try_from(u64::from_be_bytes(*length)).ok()?)?;
        items.push(Item {
            record: Record::from_canonical(record).ok()?,
            trust: Trust::of_number(*trust)?,
            received_at: Timestamp(u64::from_be_bytes(*time)),
        });
        body = rest;
    }
    Some(items)
}
