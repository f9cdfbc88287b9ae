//! What a pool and its threads share.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use futures_channel::oneshot;
use w3bstream_types::Digest;

use super::table::{Table, Task};
use super::{Files, PoolConfig, System};
use crate::{ArtefactSet, Artefacts, Error, ErrorKind};

/// A circuit, or the files to load it from, whose digests were not checked yet: that takes long for large files.
pub(super) enum Material<C> {
    Circuit(Arc<C>),
    Files(Files),
}

/// Circuits that were used last, the latest at the end, and files that waiting jobs hold.
struct Kept<C> {
    circuits: Vec<(ArtefactSet, Arc<C>)>,
    files: BTreeMap<Digest, Weak<Vec<u8>>>,
}

/// Threads that run, and those who wait until none does.
#[derive(Default)]
struct Threads {
    running: usize,
    waiters: Vec<oneshot::Sender<()>>,
}

pub(super) struct Shared<S: System> {
    pub(super) system: S,
    artefacts: Arc<dyn Artefacts>,
    circuits: usize,
    table: Mutex<Table<S::Circuit>>,
    kept: Mutex<Kept<S::Circuit>>,
    threads: Mutex<Threads>,
    wake: Condvar,
}

/// The locks guard plain data: after a panic elsewhere it is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: System> Shared<S> {
    pub(super) fn new(system: S, artefacts: Arc<dyn Artefacts>, config: PoolConfig) -> Self {
        Self {
            system,
            artefacts,
            circuits: config.circuits.max(1),
            table: Mutex::new(Table::new(config.jobs)),
            kept: Mutex::new(Kept { circuits: Vec::new(), files: BTreeMap::new() }),
            threads: Mutex::default(),
            wake: Condvar::new(),
        }
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table<S::Circuit>> {
        lock(&self.table)
    }

    pub(super) fn check_system(&self, name: &str) -> Result<(), Error> {
        self.table().check_open()?;
        if name == self.system.name() {
            return Ok(());
        }
        let what = format!("no proof system {name} is here, but {}", self.system.name());
        Err(Error::new(ErrorKind::UnknownSystem, what))
    }

    /// The circuit if it is kept, else its files.
    pub(super) async fn material(&self, set: &ArtefactSet) -> Result<Material<S::Circuit>, Error> {
        if !set.keys().map(String::as_str).eq(sorted(self.system.roles())) {
            let what = format!("a circuit of {} consists of {}", self.system.name(), self.system.roles().join(", "));
            return Err(Error::new(ErrorKind::BadInput, what));
        }
        if let Some(circuit) = self.kept(set) {
            return Ok(Material::Circuit(circuit));
        }
        let mut files = Files::new();
        for (role, digest) in set {
            // Jobs that wait for one circuit share its files.
            let held = lock(&self.kept).files.get(digest).and_then(Weak::upgrade);
            let file = match held {
                Some(file) => file,
                None => self.hold(*digest, self.artefacts.artefact(*digest).await?),
            };
            files.insert(role.clone(), file);
        }
        Ok(Material::Files(files))
    }

    fn hold(&self, digest: Digest, bytes: Vec<u8>) -> Arc<Vec<u8>> {
        let file = Arc::new(bytes);
        let mut kept = lock(&self.kept);
        kept.files.retain(|_, file| file.strong_count() > 0);
        kept.files.insert(digest, Arc::downgrade(&file));
        file
    }

    fn kept(&self, set: &ArtefactSet) -> Option<Arc<S::Circuit>> {
        let mut kept = lock(&self.kept);
        let place = kept.circuits.iter().position(|(other, _)| other == set)?;
        // Used now, so it goes to the end.
        let found = kept.circuits.remove(place);
        let circuit = Arc::clone(&found.1);
        kept.circuits.push(found);
        Some(circuit)
    }

    /// The circuit, loaded if it is not kept. Takes long.
    pub(super) fn circuit(
        &self,
        set: &ArtefactSet,
        material: &Material<S::Circuit>,
    ) -> Result<Arc<S::Circuit>, Error> {
        let files = match material {
            Material::Circuit(circuit) => return Ok(Arc::clone(circuit)),
            Material::Files(files) => files,
        };
        if let Some(circuit) = self.kept(set) {
            return Ok(circuit);
        }
        for (role, bytes) in files {
            let found = Digest::of(bytes);
            if set.get(role) != Some(&found) {
                let what = format!("the artefact for {role} has the digest {found}, not the one that was asked for");
                return Err(Error::new(ErrorKind::WrongDigest, what));
            }
        }
        let circuit = Arc::new(self.system.load(files)?);
        let mut kept = lock(&self.kept);
        if kept.circuits.len() >= self.circuits {
            kept.circuits.remove(0);
        }
        kept.circuits.push((set.clone(), Arc::clone(&circuit)));
        Ok(circuit)
    }

    /// One worker has something to look for.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits for a job; `None` when the pool is closed.
    pub(super) fn next(&self) -> Option<Task<S::Circuit>> {
        let mut table = self.table();
        loop {
            if table.is_closed() {
                return None;
            }
            if let Some(task) = table.next() {
                return Some(task);
            }
            table = self.wake.wait(table).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Cancels all jobs and lets the workers end. Does not wait.
    pub(super) fn stop(&self) {
        self.table().close();
        self.wake.notify_all();
    }

    /// Returns when no thread of the pool runs any more.
    pub(super) async fn threads_ended(&self) {
        let receiver = {
            let mut threads = lock(&self.threads);
            if threads.running == 0 {
                return;
            }
            let (waiter, receiver) = oneshot::channel();
            threads.waiters.push(waiter);
            receiver
        };
        // An error would mean that the waiter was dropped, and it is only dropped with the threads.
        let _ = receiver.await;
    }
}

fn sorted<'a>(roles: &[&'a str]) -> Vec<&'a str> {
    let mut roles = roles.to_vec();
    roles.sort_unstable();
    roles
}

/// Counts a thread for as long as it runs.
struct Running<S: System>(Arc<Shared<S>>);

impl<S: System> Drop for Running<S> {
    fn drop(&mut self) {
        let mut threads = lock(&self.0.threads);
        threads.running = threads.running.saturating_sub(1);
        if threads.running == 0 {
            let waiters = std::mem::take(&mut threads.waiters);
            drop(threads);
            for waiter in waiters {
                let _ = waiter.send(());
            }
        }
    }
}

/// Starts a thread of the pool.
pub(super) fn start<S: System>(
    shared: &Arc<Shared<S>>,
    name: String,
    work: impl FnOnce(&Shared<S>) + Send + 'static,
) -> Result<(), Error> {
    lock(&shared.threads).running += 1;
    let running = Running(Arc::clone(shared));
    let builder = std::thread::Builder::new().name(name);
    match builder.spawn(move || work(&running.0)) {
        Ok(_) => Ok(()),
        Err(e) => Err(Error::new(ErrorKind::Internal, "no thread for the prover").with_source(e)),
    }
}

impl<S: System> fmt::Debug for Shared<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (jobs, waiting, running) = self.table().summary();
        f.debug_struct("Shared")
            .field("system", &self.system)
            .field("jobs", &jobs)
            .field("waiting", &waiting)
            .field("running", &running)
            .finish_non_exhaustive()
    }
}
