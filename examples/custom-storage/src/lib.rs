#![doc = include_str!("../../../docs/write-a-storage-backend.md")]

mod log;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use futures_channel::oneshot;
use w3bstream_storage::{
    Appended, Capabilities, ConflictEvidence, Error, ErrorKind, Filter, Item, MemoryStorage, Stats, Storage,
    async_trait,
};
use w3bstream_types::{MessageId, Position, ProjectId, Timestamp};

use crate::log::Log;

/// Device data in one append-only file, with everything in memory too.
#[derive(Debug)]
pub struct FileStorage {
    path: PathBuf,
    memory: MemoryStorage,
    writer: Mutex<Option<(SyncSender<Job>, JoinHandle<()>)>>,
}

type Answer = Result<Vec<Appended>, Error>;

#[derive(Debug)]
struct Job {
    items: Vec<Item>,
    reply: oneshot::Sender<Answer>,
}

impl FileStorage {
    /// Opens the file, or makes it, and reads back what it holds.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if something in the middle of the file is damaged; what the operating system
    /// said otherwise.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let (mut log, batches) = Log::open(path)?;
        let memory = MemoryStorage::new();
        // Judging the same items in the same order gives the same answers and positions as before.
        for batch in batches {
            pollster::block_on(memory.append(batch))?;
        }
        let (jobs, queue) = sync_channel(64);
        let written = memory.reopen();
        let run = move || write(&mut log, &written, &queue);
        let thread = std::thread::Builder::new().name("file-storage".into()).spawn(run);
        let thread = thread.map_err(|e| Error::new(ErrorKind::Io, "cannot start a thread").with_source(e))?;
        Ok(Self { path: path.to_owned(), memory, writer: Mutex::new(Some((jobs, thread))) })
    }

    fn stop(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((jobs, thread)) = writer {
            // Without a sender the thread does what is queued and ends.
            drop(jobs);
            drop(thread.join());
        }
    }
}

/// First the disk, then memory, then the answer: nobody reads or hears of what could still be lost.
fn write(log: &mut Log, memory: &MemoryStorage, queue: &Receiver<Job>) {
    for Job { items, reply } in queue {
        let answer = log.append(&items).and_then(|()| pollster::block_on(memory.append(items)));
        // The caller may have gone; the record stays.
        drop(reply.send(answer));
    }
}

impl Drop for FileStorage {
    fn drop(&mut self) {
        self.stop();
    }
}

#[async_trait]
impl Storage for FileStorage {
    fn name(&self) -> &str {
        "file"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            persistent: true,
            power_safe: true,
            scan_all: true,
            filters: true,
            retention: false,
            integrity_check: true,
        }
    }

    async fn append(&self, items: Vec<Item>) -> Answer {
        let (reply, answer) = oneshot::channel();
        let sent = {
            let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            writer.as_ref().map(|(jobs, _)| jobs.try_send(Job { items, reply }))
        };
        match sent {
            Some(Ok(())) => {}
            Some(Err(TrySendError::Full(_))) => {
                return Err(Error::new(ErrorKind::Unavailable, "64 batches are waiting for the disk"));
            }
            Some(Err(TrySendError::Disconnected(_))) | None => return Err(closed(&self.path)),
        }
        answer.await.unwrap_or_else(|_| Err(closed(&self.path)))
    }

    async fn get(&self, ids: &[MessageId]) -> Result<Vec<Option<(Position, Item)>>, Error> {
        self.memory.get(ids).await
    }

    async fn scan(
        &self,
        filter: &Filter,
        after: Position,
        limit: usize,
    ) -> Result<Vec<(Position, Item)>, Error> {
        self.memory.scan(filter, after, limit).await
    }

    async fn conflicts(&self, project: ProjectId, limit: usize) -> Result<Vec<ConflictEvidence>, Error> {
        self.memory.conflicts(project, limit).await
    }

    async fn delete_before(&self, _: ProjectId, _: Timestamp, _: usize) -> Result<u64, Error> {
        Err(Error::new(ErrorKind::Unsupported, "the file storage only appends: it cannot delete"))
    }

    async fn check(&self) -> Result<Vec<String>, Error> {
        let mut found = self.memory.check().await?;
        match log::read(&self.path) {
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::Corrupt => found.push(e.to_string()),
            Err(e) => return Err(e),
        }
        Ok(found)
    }

    async fn stats(&self) -> Result<Stats, Error> {
        let bytes = std::fs::metadata(&self.path).map_or(0, |m| m.len());
        Ok(Stats { bytes, ..self.memory.stats().await? })
    }

    async fn close(&self) -> Result<(), Error> {
        self.stop();
        self.memory.close().await
    }
}

fn closed(path: &Path) -> Error {
    Error::new(ErrorKind::Closed, format!("{} was closed", path.display()))
}
