//! The log in a directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{ErrorKind as IoKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{Wal, frame};
use crate::{Error, ErrorKind};

const LOG: &str = "consensus.wal";
const NEW: &str = "consensus.wal.new";
const LOCK: &str = "consensus.lock";

/// A [`Wal`] in a directory of its own: `consensus.wal`, and `consensus.lock`, which keeps a second process
/// out (two nodes with one key would contradict each other).
///
/// Calls block for the disk: use it from a thread that may. Each sync is one write and one fsync. Creating
/// and rewriting write a second file, fsync it, rename it over the first and fsync the directory.
#[derive(Debug)]
pub struct FileWal {
    dir: PathBuf,
    file: File,
    // Held, not read: the lock ends with it.
    _lock: File,
    nonce: u64,
    next: u64,
    bytes: u64,
    pending: Vec<u8>,
    failed: bool,
}

fn io(what: &str, path: &Path, e: std::io::Error) -> Error {
    Error::new(ErrorKind::Wal, format!("cannot {what} {}", path.display())).with_source(e)
}

impl FileWal {
    /// Opens the log in `dir`, or makes both. A torn end is cut off.
    ///
    /// # Errors
    /// [`ErrorKind::Wal`] if the disk fails or another process has it open, [`ErrorKind::CorruptWal`] if it
    /// is damaged in its middle, [`ErrorKind::Incompatible`] if it is of a newer version.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, Error> {
        let dir = dir.into();
        std::fs::create_dir_all(&dir).map_err(|e| io("make directory", &dir, e))?;
        let lock = lock(&dir)?;
        let log = dir.join(LOG);
        // What a rewrite left behind that was not finished.
        match std::fs::remove_file(dir.join(NEW)) {
            Err(e) if e.kind() != IoKind::NotFound => return Err(io("remove", &dir.join(NEW), e)),
            _ => {}
        }
        if !log.try_exists().map_err(|e| io("look for", &log, e))? {
            replace(&dir, &frame::header(fresh_nonce()), &[])?;
        }
        let mut file =
            OpenOptions::new().read(true).write(true).open(&log).map_err(|e| io("open", &log, e))?;
        let bytes = read_all(&mut file, &log)?;
        let scanned = frame::scan(&bytes)
            .map_err(|e| Error::new(e.kind(), format!("log {}", log.display())).with_source(e))?;
        let good = scanned.good_bytes as u64;
        if good < bytes.len() as u64 {
            let torn = bytes.len() as u64 - good;
            tracing::warn!(log = %log.display(), torn, "cut off the end of the log that a crash left unfinished");
            file.set_len(good).and_then(|()| file.sync_all()).map_err(|e| io("truncate", &log, e))?;
        }
        let (nonce, next) = (scanned.nonce, scanned.next);
        Ok(Self { dir, file, _lock: lock, nonce, next, bytes: good, pending: Vec::new(), failed: false })
    }

    fn log(&self) -> PathBuf {
        self.dir.join(LOG)
    }

    fn usable(&self) -> Result<(), Error> {
        if self.failed {
            return Err(Error::new(ErrorKind::Wal, "the log failed before and must be opened again"));
        }
        Ok(())
    }

    // After a failed write or fsync nobody knows what is on the disk: only reading it again tells.
    fn or_fail<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        self.failed |= result.is_err();
        result
    }

    fn write_pending(&mut self) -> Result<(), Error> {
        let head = frame::head(self.nonce, self.next, &self.pending)?;
        let log = self.log();
        let frame = [&head[..], &self.pending].concat();
        self.file
            .seek(SeekFrom::Start(self.bytes))
            .and_then(|_| self.file.write_all(&frame))
            .and_then(|()| self.file.sync_data())
            .map_err(|e| io("write", &log, e))?;
        self.bytes += frame.len() as u64;
        self.next += 1;
        self.pending.clear();
        Ok(())
    }

    fn rewrite_all(&mut self, records: &[Vec<u8>]) -> Result<(), Error> {
        let (nonce, mut payload) = (fresh_nonce(), Vec::new());
        for record in records {
            frame::push_record(&mut payload, record)?;
        }
        let head = frame::head(nonce, 0, &payload)?;
        let frame = if records.is_empty() { Vec::new() } else { [&head[..], &payload].concat() };
        self.file = replace(&self.dir, &frame::header(nonce), &frame)?;
        self.bytes = (frame::HEADER_BYTES + frame.len()) as u64;
        (self.nonce, self.next) = (nonce, u64::from(!records.is_empty()));
        self.pending.clear();
        Ok(())
    }
}

impl Wal for FileWal {
    fn read(&mut self) -> Result<Vec<Vec<u8>>, Error> {
        self.usable()?;
        let log = self.log();
        let mut bytes = read_all(&mut self.file, &log)?;
        bytes.truncate(usize::try_from(self.bytes).unwrap_or(usize::MAX));
        Ok(frame::scan(&bytes)?.records)
    }

    fn append(&mut self, record: &[u8]) -> Result<(), Error> {
        self.usable()?;
        frame::push_record(&mut self.pending, record)
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.usable()?;
        if self.pending.is_empty() {
            return Ok(());
        }
        let result = self.write_pending();
        self.or_fail(result)
    }

    fn rewrite(&mut self, records: &[Vec<u8>]) -> Result<(), Error> {
        self.usable()?;
        let result = self.rewrite_all(records);
        self.or_fail(result)
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join(LOCK);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|e| io("open", &path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let what = format!("{} is held by another node; stop that one first", path.display());
            Err(Error::new(ErrorKind::Wal, what))
        }
        Err(TryLockError::Error(e)) => Err(io("lock", &path, e)),
    }
}

fn read_all(file: &mut File, path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.read_to_end(&mut bytes))
        .map_err(|e| io("read", path, e))?;
    Ok(bytes)
}

/// Puts a new log in the place of the old one, if any; durable when it returns.
fn replace(dir: &Path, header: &[u8], frame: &[u8]) -> Result<File, Error> {
    let (new, log) = (dir.join(NEW), dir.join(LOG));
    let open = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&new);
    let mut file = open.map_err(|e| io("make", &new, e))?;
    file.write_all(header)
        .and_then(|()| file.write_all(frame))
        .and_then(|()| file.sync_all())
        .map_err(|e| io("write", &new, e))?;
    std::fs::rename(&new, &log).map_err(|e| io("rename", &new, e))?;
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| io("sync directory", dir, e))?;
    Ok(file)
}

/// Differs for each log, and no peer knows it. The standard library's hasher is seeded by the system.
fn fresh_nonce() -> u64 {
    RandomState::new().build_hasher().finish()
}
