//! The files below `/data`, which are keys of the applet's state.
//!
//! A file is the key `/data/PATH` with its contents. A folder is the key `/data/PATH/` with the names in it, one a line, sorted, those
//! of folders with a slash at their end; the root is `/data/`. The key `/data` says how many entries and bytes there
//! are. What is not asked for is not read; what is not changed is not written.

use std::collections::{BTreeMap, BTreeSet};

use virtual_fs::FsError;
use w3bstream_engine::abi::price;
use w3bstream_engine::{Error, GuestError};

use crate::book::{ENTRY_BYTES, Shared, Stop};
use crate::quota::Quota;

/// Where the files are, for guests and in the state.
pub(crate) const ROOT: &str = "/data";
/// Longest path below it, in bytes.
const MAX_PATH_BYTES: usize = 512;
/// Longest name of an entry, in bytes.
const MAX_NAME_BYTES: usize = 255;
/// Deepest folder.
const MAX_DEPTH: usize = 32;

/// Asks for a key of the applet's state.
pub(crate) type Get = Box<dyn Fn(Vec<u8>) -> Result<Option<Vec<u8>>, Error> + Send>;

/// What a call changes of the state.
pub(crate) type Changes = (BTreeMap<Vec<u8>, Vec<u8>>, BTreeSet<Vec<u8>>);

type Answer<T> = Result<T, FsError>;

/// An entry of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    File,
    Folder,
}

#[derive(Debug, Default)]
struct Folder {
    entries: BTreeMap<String, Entry>,
    changed: bool,
    /// What it counts among the written bytes.
    counted: u64,
}

#[derive(Debug)]
struct File {
    contents: Vec<u8>,
    /// Its path; `None` once it was removed, though somebody may have it open still.
    path: Option<String>,
    changed: bool,
    counted: u64,
}

/// The files of one call.
pub(crate) struct Tree {
    get: Get,
    book: Shared,
    quota: Quota,
    folders: BTreeMap<String, Folder>,
    files: Vec<File>,
    /// Which file of `files` a path is.
    places: BTreeMap<String, usize>,
    /// Keys that the state has.
    existing: BTreeSet<Vec<u8>>,
    /// Entries and bytes, and what they were before; `None` until something changes.
    usage: Option<[u64; 4]>,
    /// Bytes that the call would write now.
    written: u64,
    /// Bytes of files in memory.
    held: u64,
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree").field("files", &self.files.len()).finish_non_exhaustive()
    }
}

fn file_key(path: &str) -> Vec<u8> {
    format!("{ROOT}/{path}").into_bytes()
}

fn folder_key(path: &str) -> Vec<u8> {
    if path.is_empty() { format!("{ROOT}/").into_bytes() } else { format!("{ROOT}/{path}/").into_bytes() }
}

/// Folder and name of a path; `None` for the root.
fn split(path: &str) -> Option<(&str, &str)> {
    if path.is_empty() { None } else { Some(path.rsplit_once('/').unwrap_or(("", path))) }
}

/// Whether such a name can be kept.
fn good_name(path: &str, name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && path.len() <= MAX_PATH_BYTES
        && path.split('/').count() <= MAX_DEPTH
        && !matches!(name, "." | "..")
        && !name.chars().any(|c| c == '/' || c == '\\' || c.is_control())
}

impl Tree {
    pub(crate) const fn new(get: Get, book: Shared, quota: Quota) -> Self {
        Self {
            get,
            book,
            quota,
            folders: BTreeMap::new(),
            files: Vec::new(),
            places: BTreeMap::new(),
            existing: BTreeSet::new(),
            usage: None,
            written: 0,
            held: 0,
        }
    }

    /// The time that all files show, in nanoseconds: the block's.
    pub(crate) fn time(&self) -> u64 {
        self.book.lock().file_time()
    }

    fn ask(&mut self, key: Vec<u8>) -> Answer<Option<Vec<u8>>> {
        let value = match (self.get)(key.clone()) {
            Ok(value) => value,
            Err(e) => return self.end(Stop::Host(e)),
        };
        let bytes = value.as_ref().map_or(0, Vec::len) as u64;
        self.book.lock().cost += price::KV_GET + price::copy(bytes);
        if value.is_some() {
            self.existing.insert(key);
        }
        Ok(value)
    }

    /// Ends the call.
    fn end<T>(&self, stop: Stop) -> Answer<T> {
        self.book.lock().stop(stop);
        Err(FsError::StorageFull)
    }

    fn full<T>(&self) -> Answer<T> {
        self.end(Stop::Guest(GuestError::KvLimit))
    }

    fn folder(&mut self, path: &str) -> Answer<&mut Folder> {
        if !self.folders.contains_key(path) {
            let text = self.ask(folder_key(path))?.unwrap_or_default();
            let mut folder = Folder::default();
            for line in String::from_utf8_lossy(&text).lines() {
                let (name, entry) =
                    line.strip_suffix('/').map_or((line, Entry::File), |name| (name, Entry::Folder));
                folder.entries.insert(name.to_owned(), entry);
            }
            self.folders.insert(path.to_owned(), folder);
        }
        self.folders.get_mut(path).ok_or(FsError::EntryNotFound)
    }

    /// What is at a path.
    pub(crate) fn entry(&mut self, path: &str) -> Answer<Entry> {
        let Some((parent, name)) = split(path) else { return Ok(Entry::Folder) };
        if path.len() > MAX_PATH_BYTES {
            return Err(FsError::EntryNotFound);
        }
        match self.entry(parent)? {
            Entry::File => Err(FsError::BaseNotDirectory),
            Entry::Folder => self.folder(parent)?.entries.get(name).copied().ok_or(FsError::EntryNotFound),
        }
    }

    /// Names and kinds in a folder, sorted.
    pub(crate) fn list(&mut self, path: &str) -> Answer<Vec<(String, Entry)>> {
        match self.entry(path)? {
            Entry::File => Err(FsError::BaseNotDirectory),
            Entry::Folder => {
                let entries: Vec<_> =
                    self.folder(path)?.entries.iter().map(|(n, e)| (n.clone(), *e)).collect();
                self.book.lock().cost += 100 * entries.len() as u64;
                Ok(entries)
            }
        }
    }

    /// The file at a path, read from the state if need be.
    fn load(&mut self, path: &str) -> Answer<usize> {
        if let Some(place) = self.places.get(path) {
            return Ok(*place);
        }
        let contents = self.ask(file_key(path))?.unwrap_or_default();
        self.hold(contents.len() as u64)?;
        Ok(self.place(path, contents))
    }

    fn place(&mut self, path: &str, contents: Vec<u8>) -> usize {
        let place = self.files.len();
        self.files.push(File { contents, path: Some(path.to_owned()), changed: false, counted: 0 });
        self.places.insert(path.to_owned(), place);
        place
    }

    /// Takes memory for so many bytes more.
    fn hold(&mut self, more: u64) -> Answer<()> {
        self.held += more;
        if self.held > self.book.lock().limits.memory_bytes { self.full() } else { Ok(()) }
    }

    /// Adds to what the applet keeps.
    fn keep(&mut self, entries: i64, bytes: i64) -> Answer<()> {
        if self.usage.is_none() {
            let text = self.ask(ROOT.as_bytes().to_vec())?.unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let mut numbers = text.split(' ').map(|n| n.parse().unwrap_or(0));
            let (entries, bytes) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
            self.usage = Some([entries, bytes, entries, bytes]);
        }
        let Some([kept_entries, kept_bytes, ..]) = &mut self.usage else { return Ok(()) };
        *kept_entries = kept_entries.saturating_add_signed(entries);
        *kept_bytes = kept_bytes.saturating_add_signed(bytes);
        let over = *kept_entries > self.quota.entries || *kept_bytes > self.quota.bytes;
        if over && (entries > 0 || bytes > 0) { self.full() } else { Ok(()) }
    }

    /// Counts bytes that the call writes: `before` no more, `now` instead.
    fn count(&mut self, before: u64, now: u64) -> Answer<()> {
        self.written = self.written.saturating_sub(before) + now;
        let over = {
            let mut book = self.book.lock();
            let first = if before == 0 { price::KV_SET } else { 0 };
            book.cost += first + price::KV_SET_BYTE * now.saturating_sub(before);
            self.written > book.limits.kv_bytes
        };
        if over { self.full() } else { Ok(()) }
    }

    /// What was to be written is to be removed.
    fn uncount(&mut self, counted: u64) {
        self.written = self.written.saturating_sub(counted);
        self.book.lock().cost += price::KV_SET;
    }

    fn folder_changed(&mut self, path: &str) -> Answer<()> {
        let most = self.quota.folder_entries;
        let folder = self.folder(path)?;
        folder.changed = true;
        let (before, over) = (folder.counted, folder.entries.len() > most);
        let names: usize = folder.entries.keys().map(|n| n.len() + 2).sum();
        let now = (path.len() + names) as u64 + ENTRY_BYTES;
        folder.counted = now;
        if over { self.full() } else { self.count(before, now) }
    }

    fn file_changed(&mut self, place: usize) -> Answer<()> {
        let Some(file) = self.files.get_mut(place) else { return Err(FsError::InvalidFd) };
        let Some(path) = &file.path else { return Ok(()) };
        file.changed = true;
        let (before, now) = (file.counted, (path.len() + file.contents.len()) as u64 + ENTRY_BYTES);
        file.counted = now;
        self.count(before, now)
    }

    /// Puts an entry into its folder.
    fn add(&mut self, path: &str, entry: Entry) -> Answer<()> {
        let Some((parent, name)) = split(path) else { return Err(FsError::AlreadyExists) };
        if !good_name(path, name) {
            return Err(FsError::InvalidInput);
        }
        if self.entry(parent)? != Entry::Folder {
            return Err(FsError::BaseNotDirectory);
        }
        self.folder(parent)?.entries.insert(name.to_owned(), entry);
        self.folder_changed(parent)
    }

    /// Takes an entry out of its folder.
    fn take(&mut self, path: &str) -> Answer<()> {
        let Some((parent, name)) = split(path) else { return Err(FsError::PermissionDenied) };
        self.folder(parent)?.entries.remove(name);
        self.folder_changed(parent)
    }

    pub(crate) fn create_folder(&mut self, path: &str) -> Answer<()> {
        match self.entry(path) {
            Ok(_) => return Err(FsError::AlreadyExists),
            Err(FsError::EntryNotFound) => {}
            Err(e) => return Err(e),
        }
        self.add(path, Entry::Folder)?;
        self.keep(1, 0)?;
        self.folders.insert(path.to_owned(), Folder::default());
        self.folder_changed(path)
    }

    pub(crate) fn remove_folder(&mut self, path: &str) -> Answer<()> {
        if split(path).is_none() {
            return Err(FsError::PermissionDenied);
        }
        if self.entry(path)? == Entry::File {
            return Err(FsError::BaseNotDirectory);
        }
        let folder = self.folder(path)?;
        if !folder.entries.is_empty() {
            return Err(FsError::DirectoryNotEmpty);
        }
        let counted = folder.counted;
        self.folders.remove(path);
        self.uncount(counted);
        self.keep(-1, 0)?;
        self.take(path)
    }

    /// Creates an empty file, which must not be there.
    fn create_file(&mut self, path: &str) -> Answer<usize> {
        self.add(path, Entry::File)?;
        self.keep(1, 0)?;
        let place = self.place(path, Vec::new());
        self.file_changed(place)?;
        Ok(place)
    }

    pub(crate) fn remove_file(&mut self, path: &str) -> Answer<()> {
        if self.entry(path)? == Entry::Folder {
            return Err(FsError::NotAFile);
        }
        let place = self.load(path)?;
        self.unlink(place)
    }

    /// Removes a file's name. Whoever has it open may go on.
    pub(crate) fn unlink(&mut self, place: usize) -> Answer<()> {
        let Some(file) = self.files.get_mut(place) else { return Err(FsError::InvalidFd) };
        let Some(path) = file.path.take() else { return Err(FsError::EntryNotFound) };
        let (counted, bytes) = (std::mem::take(&mut file.counted), file.contents.len());
        self.places.remove(&path);
        self.uncount(counted);
        self.keep(-1, -signed(bytes))?;
        self.take(&path)
    }

    /// Moves an entry. What is at `to` is replaced if it is of the same kind, and empty if it is a folder.
    pub(crate) fn rename(&mut self, from: &str, to: &str) -> Answer<()> {
        let entry = self.entry(from)?;
        if from == to {
            return Ok(());
        }
        if split(from).is_none() || split(to).is_none() || to.starts_with(&format!("{from}/")) {
            return Err(FsError::InvalidInput);
        }
        match (entry, self.entry(to)) {
            (Entry::File, Ok(Entry::File)) => self.remove_file(to)?,
            (Entry::Folder, Ok(Entry::Folder)) => self.remove_folder(to)?,
            (Entry::File, Ok(Entry::Folder)) => return Err(FsError::NotAFile),
            (Entry::Folder, Ok(Entry::File)) => return Err(FsError::BaseNotDirectory),
            (_, Err(FsError::EntryNotFound)) => {}
            (_, Err(e)) => return Err(e),
        }
        // First what can be refused.
        self.add(to, entry)?;
        self.moved(from, to, entry)?;
        self.take(from)
    }

    /// Gives an entry, and all below it, another path. Depth is bounded, so this may call itself.
    fn moved(&mut self, from: &str, to: &str, entry: Entry) -> Answer<()> {
        if to.len() > MAX_PATH_BYTES {
            return Err(FsError::InvalidInput);
        }
        if entry == Entry::File {
            let place = self.load(from)?;
            self.places.remove(from);
            self.places.insert(to.to_owned(), place);
            if let Some(file) = self.files.get_mut(place) {
                file.path = Some(to.to_owned());
            }
            return self.file_changed(place);
        }
        let entries: Vec<_> = self.folder(from)?.entries.iter().map(|(n, e)| (n.clone(), *e)).collect();
        for (name, entry) in entries {
            self.moved(&format!("{from}/{name}"), &format!("{to}/{name}"), entry)?;
        }
        if let Some(folder) = self.folders.remove(from) {
            self.folders.insert(to.to_owned(), folder);
        }
        self.folder_changed(to)
    }

    /// Opens a file: its place.
    pub(crate) fn open(&mut self, path: &str, how: &virtual_fs::OpenOptionsConfig) -> Answer<usize> {
        let place = match self.entry(path) {
            Ok(Entry::Folder) => return Err(FsError::NotAFile),
            Ok(Entry::File) if how.create_new => return Err(FsError::AlreadyExists),
            Ok(Entry::File) => self.load(path)?,
            Err(FsError::EntryNotFound) if how.create || how.create_new => self.create_file(path)?,
            Err(e) => return Err(e),
        };
        if how.truncate {
            self.resize(place, 0)?;
        }
        Ok(place)
    }

    /// Bytes of a file at a path.
    pub(crate) fn size_at(&mut self, path: &str) -> Answer<u64> {
        let place = self.load(path)?;
        Ok(self.size(place))
    }

    pub(crate) fn size(&self, place: usize) -> u64 {
        self.files.get(place).map_or(0, |f| f.contents.len() as u64)
    }

    /// What is from `at` on, up to `most` bytes.
    pub(crate) fn read(&self, place: usize, at: u64, most: usize) -> &[u8] {
        let contents = self.files.get(place).map(|f| f.contents.as_slice()).unwrap_or_default();
        let rest = usize::try_from(at).ok().and_then(|at| contents.get(at..)).unwrap_or_default();
        rest.get(..most).unwrap_or(rest)
    }

    /// Writes from `at` on; what lies between the end and there becomes zeros.
    pub(crate) fn write(&mut self, place: usize, at: u64, bytes: &[u8]) -> Answer<()> {
        let Some(end) = at.checked_add(bytes.len() as u64) else { return self.full() };
        if end > self.size(place) {
            self.resize(place, end)?;
        }
        let range = usize::try_from(at).ok().zip(usize::try_from(end).ok());
        let Some(file) = self.files.get_mut(place) else { return Err(FsError::InvalidFd) };
        let target = range.and_then(|(at, end)| file.contents.get_mut(at..end));
        target.ok_or(FsError::InvalidInput)?.copy_from_slice(bytes);
        self.file_changed(place)
    }

    /// Cuts a file, or adds zeros at its end.
    pub(crate) fn resize(&mut self, place: usize, to: u64) -> Answer<()> {
        let before = self.size(place);
        let named = self.files.get(place).is_some_and(|f| f.path.is_some());
        if to > before {
            // Before there is memory for it.
            if to > self.book.lock().limits.kv_bytes {
                return self.full();
            }
            self.hold(to - before)?;
            self.book.lock().cost += price::copy(to - before);
        } else {
            self.held = self.held.saturating_sub(before - to);
        }
        if named && to != before {
            self.keep(0, signed(to) - signed(before))?;
        }
        let Some(file) = self.files.get_mut(place) else { return Err(FsError::InvalidFd) };
        file.contents.resize(usize::try_from(to).unwrap_or(usize::MAX), 0);
        self.file_changed(place)
    }

    /// What the call changes of the state.
    pub(crate) fn changes(&self) -> Changes {
        let mut writes = BTreeMap::new();
        let mut present = BTreeSet::new();
        for (path, folder) in &self.folders {
            present.insert(folder_key(path));
            if folder.changed {
                let lines = folder.entries.iter().map(|(name, entry)| match entry {
                    Entry::File => format!("{name}\n"),
                    Entry::Folder => format!("{name}/\n"),
                });
                writes.insert(folder_key(path), lines.collect::<String>().into_bytes());
            }
        }
        for (path, place) in &self.places {
            present.insert(file_key(path));
            if let Some(file) = self.files.get(*place).filter(|f| f.changed) {
                writes.insert(file_key(path), file.contents.clone());
            }
        }
        if let Some([entries, bytes, ..]) = self.usage.filter(|[e, b, was_e, was_b]| (e, b) != (was_e, was_b))
        {
            writes.insert(ROOT.as_bytes().to_vec(), format!("{entries} {bytes}").into_bytes());
        }
        present.insert(ROOT.as_bytes().to_vec());
        (writes, self.existing.difference(&present).cloned().collect())
    }
}

fn signed(n: impl TryInto<i64>) -> i64 {
    n.try_into().unwrap_or(i64::MAX)
}
