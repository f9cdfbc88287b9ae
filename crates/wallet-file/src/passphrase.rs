//! The passphrase that opens a wallet.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use w3bstream_wallet::{Error, ErrorKind};
use zeroize::Zeroizing;

use crate::files;

/// A passphrase. Wiped when it is dropped; has no `Debug` and no `Display`.
///
/// ```compile_fail,E0277
/// println!("{:?}", w3bstream_wallet_file::Passphrase::new("secret".into()));
/// ```
#[allow(missing_debug_implementations, reason = "it must not be printed by accident")]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes a passphrase as it was typed.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Reads a file of mode 0600; one line end at its end is not part of the passphrase.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Permissions`] if others may read or write it,
    /// [`ErrorKind::Corrupt`] if it is empty or no UTF-8, [`ErrorKind::Io`].
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let bytes = files::read_private(path)?;
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let bad =
            |why| Error::new(ErrorKind::Corrupt, format!("the passphrase file {} {why}", path.display()));
        let text = std::str::from_utf8(line).map_err(|_| bad("is not UTF-8 text"))?;
        if text.is_empty() {
            return Err(bad("is empty"));
        }
        Ok(Self::new(text.to_owned()))
    }

    /// A new passphrase of 256 random bits, for a node that starts without anybody typing.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the operating system gives no random numbers.
    pub fn generate() -> Result<Self, Error> {
        let raw = random::<32>()?;
        let mut text = Zeroizing::new(String::with_capacity(43));
        B64.encode_string(&raw[..], &mut text);
        Ok(Self(text))
    }

    /// Writes it to a new file of mode 0600 that [`Self::from_file`] reads.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`], [`ErrorKind::Io`].
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let mut line = Zeroizing::new(Vec::with_capacity(self.0.len() + 1));
        line.extend_from_slice(self.0.as_bytes());
        line.push(b'\n');
        files::create(path, &line)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, Error> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut bytes[..]).map_err(|e| {
        Error::new(ErrorKind::Io, "the operating system gives no random numbers").with_source(e.to_string())
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_not_part_of_it() {
        let dir = tempfile::tempdir().unwrap();
        for (i, (bytes, wanted)) in
            [(&b"a b "[..], "a b "), (b"a b \n", "a b "), (b"a b \r\n", "a b "), (b"a\n\n", "a\n")]
                .into_iter()
                .enumerate()
        {
            let path = dir.path().join(i.to_string());
            files::create(&path, bytes).unwrap();
            assert_eq!(Passphrase::from_file(&path).unwrap().as_bytes(), wanted.as_bytes());
        }
    }

    #[test]
    fn empty_and_binary_files_are_refused_without_showing_them() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in [("empty", &b""[..]), ("line", b"\n"), ("binary", &[0x66, 0xff])] {
            let path = dir.path().join(name);
            files::create(&path, bytes).unwrap();
            let e = Passphrase::from_file(&path).err().unwrap();
            assert_eq!(e.kind(), ErrorKind::Corrupt, "{name}");
        }
    }

    #[test]
    fn a_generated_one_is_saved_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passphrase");
        let made = Passphrase::generate().unwrap();
        made.save(&path).unwrap();
        assert_eq!(Passphrase::from_file(&path).unwrap().as_bytes(), made.as_bytes());
        assert_eq!(made.as_bytes().len(), 43);
        assert_ne!(Passphrase::generate().unwrap().as_bytes(), made.as_bytes());
        assert_eq!(made.save(&path).unwrap_err().kind(), ErrorKind::Exists);
    }
}
