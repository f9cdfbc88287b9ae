//! Programs as files.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use w3bstream_types::Digest;
use w3bstream_vfs::{Error, ErrorKind};

const TEMPORARY: &str = "new-";

/// The folder of programs. Its calls block.
#[derive(Debug)]
pub(crate) struct Programs {
    dir: PathBuf,
    max_bytes: u64,
    written: AtomicU64,
}

fn io(what: &str, path: &Path, e: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot {what} {}", path.display())).with_source(e)
}

impl Programs {
    /// Makes the folder, and removes what an interrupted write has left.
    pub(crate) fn open(dir: PathBuf, max_bytes: u64) -> Result<Self, Error> {
        std::fs::create_dir_all(&dir).map_err(|e| io("make", &dir, e))?;
        let programs = Self { dir, max_bytes, written: AtomicU64::new(0) };
        let left = std::fs::read_dir(&programs.dir).map_err(|e| io("read", &programs.dir, e))?;
        for entry in left {
            let path = entry.map_err(|e| io("read", &programs.dir, e))?.path();
            let is_left = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(TEMPORARY));
            if is_left {
                tracing::info!(path = %path.display(), "removing a program whose write was interrupted");
                std::fs::remove_file(&path).map_err(|e| io("remove", &path, e))?;
            }
        }
        Ok(programs)
    }

    /// Where a program is. Two levels, so that no folder gets too long.
    pub(crate) fn path(&self, digest: Digest) -> PathBuf {
        let name = digest.to_string();
        self.dir.join(&name[..2]).join(name)
    }

    fn check_size(&self, what: &str, bytes: u64) -> Result<(), Error> {
        if bytes <= self.max_bytes {
            return Ok(());
        }
        let limit = self.max_bytes;
        let what = format!(
            "{what} has {bytes} bytes, this node's limit is {limit}; build it smaller (strip debug \
             information) or raise max-program-bytes"
        );
        Err(Error::new(ErrorKind::TooLarge, what))
    }

    /// Writes a program. Durable when it returns.
    pub(crate) fn put(&self, bytes: &[u8]) -> Result<Digest, Error> {
        self.check_size("the program", bytes.len() as u64)?;
        let digest = Digest::of(bytes);
        // One that is there and whole is not written again; a damaged one is replaced.
        if self.get(digest).is_ok() {
            return Ok(digest);
        }
        let path = self.path(digest);
        let folder = path.parent().unwrap_or(&self.dir);
        std::fs::create_dir_all(folder).map_err(|e| io("make", folder, e))?;
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let temporary = self.dir.join(format!("{TEMPORARY}{}-{number}", std::process::id()));
        let written = write(&temporary, bytes)
            .and_then(|()| std::fs::rename(&temporary, &path).map_err(|e| io("rename to", &path, e)));
        if let Err(e) = written {
            // If it cannot be removed now, the next start does it.
            let _ = std::fs::remove_file(&temporary);
            return Err(e);
        }
        // The new file's entry, then that of its folder, which may be new too.
        sync(folder)?;
        sync(&self.dir)?;
        Ok(digest)
    }

    /// Reads a program and checks it.
    pub(crate) fn get(&self, digest: Digest) -> Result<Vec<u8>, Error> {
        let path = self.path(digest);
        let mut file = File::open(&path).map_err(|e| {
            if e.kind() == std::io::ErrorKind::NotFound {
                return Error::new(ErrorKind::NotFound, format!("there is no program {digest}"));
            }
            io("open", &path, e)
        })?;
        let length = file.metadata().map_err(|e| io("look at", &path, e))?.len();
        self.check_size(&path.display().to_string(), length)?;
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        file.read_to_end(&mut bytes).map_err(|e| io("read", &path, e))?;
        if Digest::of(&bytes) != digest {
            let what = format!("{} was changed; deploy the program again", path.display());
            return Err(Error::new(ErrorKind::WrongDigest, what));
        }
        Ok(bytes)
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file =
        OpenOptions::new().write(true).create_new(true).open(path).map_err(|e| io("make", path, e))?;
    file.write_all(bytes).map_err(|e| io("write", path, e))?;
    file.sync_all().map_err(|e| io("sync", path, e))
}

fn sync(folder: &Path) -> Result<(), Error> {
    // Only Unix lets a folder be opened and synced.
    if cfg!(unix) {
        File::open(folder).and_then(|f| f.sync_all()).map_err(|e| io("sync", folder, e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs(dir: &tempfile::TempDir) -> Programs {
        Programs::open(dir.path().join("programs"), 100).unwrap()
    }

    #[test]
    fn the_limit_is_to_the_byte() {
        let dir = tempfile::tempdir().unwrap();
        let programs = programs(&dir);
        programs.put(&[1; 100]).unwrap();
        let e = programs.put(&[1; 101]).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::TooLarge);
        assert!(e.to_string().starts_with("the program has 101 bytes, this node's limit is 100"), "{e}");
    }

    #[test]
    fn every_damage_is_noticed_and_repaired_by_putting_again() {
        let dir = tempfile::tempdir().unwrap();
        let programs = programs(&dir);
        let digest = programs.put(b"a program").unwrap();
        for damaged in [&b"b program"[..], b"a progra", b"", b"a program "] {
            std::fs::write(programs.path(digest), damaged).unwrap();
            assert_eq!(programs.get(digest).unwrap_err().kind(), ErrorKind::WrongDigest);
            assert_eq!(programs.put(b"a program").unwrap(), digest);
            assert_eq!(programs.get(digest).unwrap(), b"a program");
        }
        std::fs::write(programs.path(digest), [0; 101]).unwrap();
        assert_eq!(programs.get(digest).unwrap_err().kind(), ErrorKind::TooLarge, "is not even read");
    }

    #[test]
    fn an_interrupted_write_is_removed_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let digest = programs(&dir).put(b"a program").unwrap();
        let left = dir.path().join("programs").join(format!("{TEMPORARY}1-0"));
        std::fs::write(&left, b"half of a").unwrap();
        let programs = programs(&dir);
        assert!(!left.exists());
        assert_eq!(programs.get(digest).unwrap(), b"a program");
    }

    #[test]
    fn no_temporary_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let programs = programs(&dir);
        let digest = programs.put(b"a program").unwrap();
        programs.put(b"a program").unwrap();
        let entries: Vec<_> =
            std::fs::read_dir(dir.path().join("programs")).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(entries, [programs.path(digest).parent().unwrap()]);
    }
}
