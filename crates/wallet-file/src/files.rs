//! Files that hold a secret: who may read them, and how they come into being.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use w3bstream_wallet::{Error, ErrorKind};
use zeroize::Zeroizing;

/// No file of this crate is larger, in bytes. Keeps a wrong path from filling the memory.
const MAX_FILE_BYTES: u64 = 64 * 1024;

fn io(what: &str, path: &Path, e: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot {what} {}", path.display())).with_source(e)
}

/// Reads a file that only its owner may read.
pub(crate) fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let file = File::open(path).map_err(|e| {
        if e.kind() == std::io::ErrorKind::NotFound {
            return Error::new(ErrorKind::NotFound, format!("there is no file {}", path.display()));
        }
        io("open", path, e)
    })?;
    // The opened file is asked, not the path: the path could name another one by now.
    let metadata = file.metadata().map_err(|e| io("look at", path, e))?;
    if !metadata.is_file() {
        return Err(Error::new(ErrorKind::Corrupt, format!("{} is no file", path.display())));
    }
    check_mode(path, &metadata)?;
    if metadata.len() > MAX_FILE_BYTES {
        let what = format!("{} has {} bytes, which is too much for keys", path.display(), metadata.len());
        return Err(Error::new(ErrorKind::Corrupt, what));
    }
    // Room for all of it at once: a buffer that grows leaves copies of the secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE_BYTES as usize));
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(|e| io("read", path, e))?;
    Ok(bytes)
}

#[cfg(unix)]
fn check_mode(path: &Path, metadata: &std::fs::Metadata) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let shown = path.display();
    let what = format!("{shown} is open to others (mode {mode:04o}); run: chmod 600 {shown}");
    Err(Error::new(ErrorKind::Permissions, what))
}

#[cfg(not(unix))]
fn check_mode(_: &Path, _: &std::fs::Metadata) -> Result<(), Error> {
    Ok(())
}

fn create_private(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes a new file with mode 0600 that is there with all its bytes or not at all, and durable.
///
/// The name is reserved with an empty file first, so that of two that make the same file at once one is
/// refused; the bytes then replace that file in one step.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let reserved = create_private(path).map_err(|e| {
        if e.kind() == std::io::ErrorKind::AlreadyExists {
            let what = format!("{} is there already and is not overwritten; move it away", path.display());
            return Error::new(ErrorKind::Exists, what);
        }
        io("make", path, e)
    })?;
    drop(reserved);
    let temporary = temporary_name(path);
    let written = write_and_rename(&temporary, path, bytes);
    if written.is_err() {
        // What cannot be removed now is found by whoever looks; the first error is the one that matters.
        let _ = std::fs::remove_file(&temporary);
        let _ = std::fs::remove_file(path);
    }
    written
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    path.with_file_name(name)
}

fn write_and_rename(temporary: &Path, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    // Left by a process of this number that was killed; only complete files are ever renamed.
    let _ = std::fs::remove_file(temporary);
    let mut file = create_private(temporary).map_err(|e| io("make", temporary, e))?;
    file.write_all(bytes).map_err(|e| io("write", temporary, e))?;
    file.sync_all().map_err(|e| io("sync", temporary, e))?;
    drop(file);
    std::fs::rename(temporary, path).map_err(|e| io("rename to", path, e))?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> Result<(), Error> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Only Unix lets a folder be opened and synced.
    if cfg!(unix) {
        File::open(folder).and_then(|f| f.sync_all()).map_err(|e| io("sync", folder, e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_created_is_read_back_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        create(&path, b"one").unwrap();
        assert_eq!(&read_private(&path).unwrap()[..], b"one");
        let e = create(&path, b"two").unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Exists);
        assert_eq!(&read_private(&path).unwrap()[..], b"one");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn a_failed_creation_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        // A folder in the temporary file's place makes the write fail after the name was reserved.
        std::fs::create_dir(temporary_name(&path)).unwrap();
        assert_eq!(create(&path, b"one").unwrap_err().kind(), ErrorKind::Io);
        assert!(!path.exists(), "the reservation is taken back");
        assert_eq!(create(&dir.path().join("no/such"), b"").unwrap_err().kind(), ErrorKind::Io);
    }

    #[test]
    fn a_missing_file_a_folder_and_a_huge_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let kind = |path: &Path| read_private(path).unwrap_err().kind();
        assert_eq!(kind(&dir.path().join("none")), ErrorKind::NotFound);
        assert_eq!(kind(dir.path()), ErrorKind::Corrupt);
        let huge = dir.path().join("huge");
        create(&huge, &vec![0; 64 * 1024 + 1]).unwrap();
        assert_eq!(kind(&huge), ErrorKind::Corrupt);
    }

    #[cfg(unix)]
    #[test]
    fn mode_is_0600_and_any_wider_mode_is_refused_with_the_command() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        create(&path, b"one").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for mode in [0o640, 0o604, 0o620, 0o601, 0o666] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let e = read_private(&path).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Permissions, "{mode:o}");
            assert!(e.to_string().ends_with(&format!("run: chmod 600 {}", path.display())), "{e}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        read_private(&path).unwrap();
    }
}
