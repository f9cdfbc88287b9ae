//! The log in memory, on a disk that can crash. The readable reference, and the one that tests use.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Wal, frame};
use crate::{Error, ErrorKind};

/// What a crash leaves of what was written but not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Nothing.
    Lost,
    /// The first half of its bytes.
    Torn,
    /// The right length, but zeros from its middle on.
    Zeroed,
    /// Everything.
    Kept,
}

impl Damage {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Lost, Self::Torn, Self::Zeroed, Self::Kept];
}

/// A disk that holds one log. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<Disk>>);

#[derive(Debug, Default)]
struct Disk {
    bytes: Vec<u8>,
    synced: usize,
    // A log that was opened before the last crash can do nothing any more.
    generation: u64,
    crashed: bool,
    operations: u64,
    syncs: u64,
    crash_at: Option<(u64, Damage)>,
    fail_sync_at: Option<u64>,
}

impl Disk {
    fn crash(&mut self, damage: Damage) {
        let unsynced = self.bytes.len() - self.synced;
        let half = self.synced + unsynced / 2;
        match damage {
            Damage::Lost => self.bytes.truncate(self.synced),
            Damage::Torn => self.bytes.truncate(half),
            Damage::Zeroed => self.bytes[half..].fill(0),
            Damage::Kept => {}
        }
        self.synced = self.bytes.len();
        self.crashed = true;
        self.generation += 1;
    }

    /// Counts an operation; fails if the disk crashes instead of doing it.
    fn operate(&mut self) -> Result<(), Error> {
        let this = self.operations;
        self.operations += 1;
        if let Some((at, damage)) = self.crash_at
            && at == this
        {
            self.crash_at = None;
            self.crash(damage);
            return Err(Error::new(ErrorKind::Wal, "the disk crashed"));
        }
        Ok(())
    }
}

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the log, as after the start of a process. Logs that were opened before are dead then.
    ///
    /// # Errors
    /// [`ErrorKind::CorruptWal`] if it is damaged in its middle.
    pub fn open(&self) -> Result<MemoryWal, Error> {
        let mut disk = self.lock();
        if disk.bytes.is_empty() {
            disk.bytes = frame::header(0).to_vec();
        }
        let scanned = frame::scan(&disk.bytes)?;
        disk.bytes.truncate(scanned.good_bytes);
        disk.synced = scanned.good_bytes;
        disk.crashed = false;
        disk.generation += 1;
        let (generation, next) = (disk.generation, scanned.next);
        Ok(MemoryWal { disk: self.clone(), generation, next, pending: Vec::new() })
    }

    /// The process ends now.
    pub fn crash(&self, damage: Damage) {
        self.lock().crash(damage);
    }

    /// The process ends instead of operation `at`, counted from 0 over the disk's life. Each sync is two
    /// operations, a write and an fsync; each rewrite is two, before and after it takes effect.
    pub fn crash_at(&self, at: u64, damage: Damage) {
        self.lock().crash_at = Some((at, damage));
    }

    /// Fsync number `at`, counted from 0, fails without a crash.
    pub fn fail_sync_at(&self, at: u64) {
        self.lock().fail_sync_at = Some(at);
    }

    /// Whether it has crashed and was not opened since.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.lock().crashed
    }

    /// Operations done so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Fsyncs done so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// A copy of every byte, synced or not.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    /// Another disk with what a loss of power at this moment would leave of this one.
    #[must_use]
    pub fn synced_copy(&self) -> Self {
        let disk = self.lock();
        Self::of_bytes(disk.bytes[..disk.synced].to_vec())
    }

    /// A disk with these bytes, all synced.
    #[must_use]
    pub fn of_bytes(bytes: Vec<u8>) -> Self {
        let synced = bytes.len();
        Self(Arc::new(Mutex::new(Disk { bytes, synced, ..Disk::default() })))
    }
}

/// The log of a [`MemoryDisk`].
#[derive(Debug)]
pub struct MemoryWal {
    disk: MemoryDisk,
    generation: u64,
    next: u64,
    pending: Vec<u8>,
}

impl MemoryWal {
    fn disk(&self) -> Result<MutexGuard<'_, Disk>, Error> {
        let disk = self.disk.lock();
        if disk.crashed || disk.generation != self.generation {
            return Err(Error::new(ErrorKind::Wal, "the log was closed by a crash"));
        }
        Ok(disk)
    }
}

impl Wal for MemoryWal {
    fn read(&mut self) -> Result<Vec<Vec<u8>>, Error> {
        let disk = self.disk()?;
        Ok(frame::scan(&disk.bytes[..disk.synced])?.records)
    }

    fn append(&mut self, record: &[u8]) -> Result<(), Error> {
        drop(self.disk()?);
        frame::push_record(&mut self.pending, record)
    }

    fn sync(&mut self) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let head = frame::head(0, self.next, &self.pending)?;
        let mut disk = self.disk()?;
        disk.operate()?;
        disk.bytes.extend_from_slice(&head);
        disk.bytes.extend_from_slice(&self.pending);
        disk.operate()?;
        if disk.fail_sync_at == Some(disk.syncs) {
            // The log is unusable from here: nobody knows what a disk holds after a failed fsync.
            disk.crashed = true;
            return Err(Error::new(ErrorKind::Wal, "the disk could not sync"));
        }
        disk.syncs += 1;
        disk.synced = disk.bytes.len();
        drop(disk);
        self.next += 1;
        self.pending.clear();
        Ok(())
    }

    fn rewrite(&mut self, records: &[Vec<u8>]) -> Result<(), Error> {
        let mut payload = Vec::new();
        for record in records {
            frame::push_record(&mut payload, record)?;
        }
        let mut bytes = frame::header(0).to_vec();
        if !records.is_empty() {
            bytes.extend_from_slice(&frame::head(0, 0, &payload)?);
            bytes.extend_from_slice(&payload);
        }
        let mut disk = self.disk()?;
        disk.operate()?;
        disk.synced = bytes.len();
        disk.bytes = bytes;
        disk.syncs += 1;
        disk.operate()?;
        drop(disk);
        self.next = u64::from(!records.is_empty());
        self.pending.clear();
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.disk.lock().synced as u64
    }
}
