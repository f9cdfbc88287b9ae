//! The file system that wasmer-wasix sees: `/` with nothing in it but `/data`.

use std::io::{self, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use virtual_fs::{
    AsyncRead, AsyncSeek, AsyncWrite, DirEntry, FileOpener, FileSystem, FileType, FsError, Metadata,
    OpenOptions, OpenOptionsConfig, ReadBuf, ReadDir, VirtualFile,
};

use crate::tree::{Changes, Entry, ROOT, Tree};

type Answer<T> = Result<T, FsError>;

/// The file system of one call.
#[derive(Clone, Debug)]
pub(crate) struct Files(Arc<Mutex<Tree>>);

/// Where a path leads.
enum Place {
    /// `/`.
    Top,
    /// Below `/data`; empty for itself.
    Data(String),
}

/// Without a file system behind it, `..` is nothing but the name before taken away; above `/` is `/`.
fn place(path: &Path) -> Answer<Place> {
    let mut names: Vec<&str> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_str().ok_or(FsError::InvalidInput)?),
            Component::ParentDir => {
                names.pop();
            }
            Component::RootDir | Component::CurDir => {}
            Component::Prefix(_) => return Err(FsError::InvalidInput),
        }
    }
    match names.split_first() {
        None => Ok(Place::Top),
        Some((first, rest)) if Some(*first) == ROOT.strip_prefix('/') => Ok(Place::Data(rest.join("/"))),
        Some(_) => Err(FsError::EntryNotFound),
    }
}

/// The path below `/data` of what is to be changed.
fn inside(path: &Path) -> Answer<String> {
    match place(path) {
        Ok(Place::Data(path)) => Ok(path),
        Ok(Place::Top) | Err(FsError::EntryNotFound) => Err(FsError::PermissionDenied),
        Err(e) => Err(e),
    }
}

impl Files {
    pub(crate) fn new(tree: Tree) -> Self {
        Self(Arc::new(Mutex::new(tree)))
    }

    /// A panic of the WASI layer ends the call and its files with it.
    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn changes(&self) -> Changes {
        self.tree().changes()
    }

    #[cfg(test)]
    pub(crate) fn watch(&self) -> std::sync::Weak<Mutex<Tree>> {
        Arc::downgrade(&self.0)
    }
}

fn metadata_of(tree: &mut Tree, path: &str, entry: Entry) -> Answer<Metadata> {
    let (ft, len) = match entry {
        Entry::Folder => (FileType::new_dir(), 0),
        Entry::File => (FileType::new_file(), tree.size_at(path)?),
    };
    let time = tree.time();
    Ok(Metadata { ft, accessed: time, created: time, modified: time, len })
}

impl FileSystem for Files {
    fn readlink(&self, _: &Path) -> Answer<PathBuf> {
        Err(FsError::InvalidInput)
    }

    fn read_dir(&self, path: &Path) -> Answer<ReadDir> {
        let mut tree = self.tree();
        let time = tree.time();
        let entry = |path: PathBuf, entry: Entry| {
            let ft = if entry == Entry::Folder { FileType::new_dir() } else { FileType::new_file() };
            let metadata = Metadata { ft, accessed: time, created: time, modified: time, len: 0 };
            DirEntry { path, metadata: Ok(metadata) }
        };
        let entries = match place(path)? {
            Place::Top => vec![entry(ROOT.into(), Entry::Folder)],
            Place::Data(below) => {
                tree.list(&below)?.into_iter().map(|(name, kind)| entry(path.join(name), kind)).collect()
            }
        };
        Ok(ReadDir::new(entries))
    }

    fn create_dir(&self, path: &Path) -> Answer<()> {
        self.tree().create_folder(&inside(path)?)
    }

    fn create_symlink(&self, _: &Path, _: &Path) -> Answer<()> {
        // `Unsupported` would make wasmer-wasix keep links of its own.
        Err(FsError::PermissionDenied)
    }

    fn hard_link(&self, _: &Path, _: &Path) -> Answer<()> {
        Err(FsError::PermissionDenied)
    }

    fn remove_dir(&self, path: &Path) -> Answer<()> {
        self.tree().remove_folder(&inside(path)?)
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, Answer<()>> {
        Box::pin(async move { self.tree().rename(&inside(from)?, &inside(to)?) })
    }

    fn metadata(&self, path: &Path) -> Answer<Metadata> {
        let mut tree = self.tree();
        match place(path)? {
            Place::Top => metadata_of(&mut tree, "", Entry::Folder),
            Place::Data(path) => {
                let entry = tree.entry(&path)?;
                metadata_of(&mut tree, &path, entry)
            }
        }
    }

    fn symlink_metadata(&self, path: &Path) -> Answer<Metadata> {
        self.metadata(path)
    }

    fn remove_file(&self, path: &Path) -> Answer<()> {
        self.tree().remove_file(&inside(path)?)
    }

    fn new_open_options(&self) -> OpenOptions<'_> {
        OpenOptions::new(self)
    }
}

impl FileOpener for Files {
    fn open(
        &self,
        path: &Path,
        how: &OpenOptionsConfig,
    ) -> Answer<Box<dyn VirtualFile + Send + Sync + 'static>> {
        let file = self.tree().open(&inside(path)?, how)?;
        Ok(Box::new(Open { files: self.clone(), file, at: 0, append: how.append }))
    }
}

/// An open file.
#[derive(Debug)]
struct Open {
    files: Files,
    file: usize,
    at: u64,
    append: bool,
}

impl AsyncRead for Open {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = {
            let tree = self.files.tree();
            let bytes = tree.read(self.file, self.at, into.remaining());
            into.put_slice(bytes);
            bytes.len() as u64
        };
        self.at += read;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Open {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = {
            let mut tree = self.files.tree();
            let at = if self.append { tree.size(self.file) } else { self.at };
            tree.write(self.file, at, bytes).map(|()| at + bytes.len() as u64)
        };
        Poll::Ready(match written {
            Ok(at) => {
                self.at = at;
                Ok(bytes.len())
            }
            Err(e) => Err(e.into()),
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for Open {
    fn start_seek(mut self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.files.tree().size(self.file).checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(self.at))
    }
}

impl VirtualFile for Open {
    fn last_accessed(&self) -> u64 {
        self.files.tree().time()
    }

    fn last_modified(&self) -> u64 {
        self.files.tree().time()
    }

    fn created_time(&self) -> u64 {
        self.files.tree().time()
    }

    fn size(&self) -> u64 {
        self.files.tree().size(self.file)
    }

    fn set_len(&mut self, to: u64) -> Answer<()> {
        self.files.tree().resize(self.file, to)
    }

    fn unlink(&mut self) -> Answer<()> {
        self.files.tree().unlink(self.file)
    }

    fn poll_read_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let left = self.size().saturating_sub(self.at);
        Poll::Ready(Ok(usize::try_from(left).unwrap_or(usize::MAX)))
    }

    fn poll_write_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(8_192))
    }
}
