//! The files, read with a bound, and what is in them.

use std::path::Path;

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt as _;

use crate::{Error, ErrorKind, TlsSettings};

/// What is in the files of one listener.
pub(crate) struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authorities: Option<Vec<u8>>,
    crl: Option<Vec<u8>>,
    /// Others than the owner may read the key.
    pub(crate) key_is_open: bool,
}

/// Tells whether files have changed.
pub(crate) type Fingerprint = [u8; 32];

impl Files {
    /// Reads all of them.
    pub(crate) async fn read(settings: &TlsSettings) -> Result<Self, Error> {
        let most = settings.max_file_bytes;
        let clients = settings.clients.as_ref();
        Ok(Self {
            certificate: read("the certificate", &settings.certificate, most).await?,
            key: read("the private key", &settings.key, most).await?,
            authorities: match clients {
                Some(clients) => Some(read("the devices' authorities", &clients.authorities, most).await?),
                None => None,
            },
            crl: match clients.and_then(|c| c.crl.as_ref()) {
                Some(crl) => Some(read("the revocation lists", crl, most).await?),
                None => None,
            },
            key_is_open: is_open(&settings.key).await,
        })
    }

    /// Files with this content.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn of(certificate: &[u8], key: &[u8], authorities: &[u8], crl: &[u8]) -> Self {
        let (authorities, crl) = (Some(authorities.to_vec()), Some(crl.to_vec()));
        Self { certificate: certificate.to_vec(), key: key.to_vec(), authorities, crl, key_is_open: false }
    }

    /// A digest of the contents. Times and sizes would miss a file that was written twice at once.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let mut all = Sha256::new();
        let optional = [self.authorities.as_deref(), self.crl.as_deref()];
        for file in [self.certificate.as_slice(), &self.key].into_iter().chain(optional.into_iter().flatten())
        {
            all.update((file.len() as u64).to_be_bytes());
            all.update(file);
        }
        all.update([u8::from(self.key_is_open)]);
        all.finalize().into()
    }

    pub(crate) fn chain(&self, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
        let what = "the certificate, in PEM (-----BEGIN CERTIFICATE-----)";
        all(&self.certificate, path, ErrorKind::Certificate, what)
    }

    pub(crate) fn key(&self, path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
        private_key(&self.key, path)
    }

    pub(crate) fn authorities(&self, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
        let what = "the certificates of the authorities that issue devices' certificates, in PEM";
        all(self.authorities.as_deref().unwrap_or_default(), path, ErrorKind::Authorities, what)
    }

    pub(crate) fn crl(&self, path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, Error> {
        let what = "revocation lists, in PEM (-----BEGIN X509 CRL-----); `openssl crl -inform DER -in list.crl` converts one";
        all(self.crl.as_deref().unwrap_or_default(), path, ErrorKind::Crl, what)
    }
}

pub(crate) fn private_key(pem: &[u8], path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|e| {
        let text = String::from_utf8_lossy(pem);
        let shown = path.display();
        // What the parser says could quote the key.
        let why = match e {
            _ if text.contains("ENCRYPTED") => {
                format!("the private key in {shown} is encrypted; decrypt it with `openssl pkey -in {shown} -out key.pem`")
            }
            pem::Error::NoItemsFound => format!(
                "{shown} holds no private key; it must hold one in PEM (-----BEGIN PRIVATE KEY-----, EC or RSA PRIVATE KEY)"
            ),
            _ => format!("{shown} is broken PEM; copy the private key there again"),
        };
        Error::new(ErrorKind::Key, format!("tls: {why}"))
    })
}

pub(crate) async fn read(what: &str, path: &Path, most: u64) -> Result<Vec<u8>, Error> {
    let shown = path.display();
    let cannot = |e: std::io::Error| {
        let what = format!("tls: cannot read {what} from {shown}; name a file that the node's user may read");
        Error::new(ErrorKind::File, what).with_source(e)
    };
    let file = tokio::fs::File::open(path).await.map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).await.map_err(cannot)?;
    if bytes.len() as u64 > most {
        let what = format!("tls: {shown} has more than {most} bytes (max_file_bytes); is it {what}?");
        return Err(Error::new(ErrorKind::File, what));
    }
    Ok(bytes)
}

pub(crate) fn all<T: PemObject>(
    pem: &[u8],
    path: &Path,
    kind: ErrorKind,
    what: &str,
) -> Result<Vec<T>, Error> {
    let shown = path.display();
    let found: Result<Vec<T>, pem::Error> = T::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(Error::new(kind, format!("tls: {shown} holds none; it must hold {what}"))),
        Err(e) => {
            Err(Error::new(kind, format!("tls: {shown} is broken PEM; it must hold {what}")).with_source(e))
        }
    }
}

#[cfg(unix)]
async fn is_open(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    let others = 0o007;
    tokio::fs::metadata(path).await.is_ok_and(|m| m.permissions().mode() & others != 0)
}

#[cfg(not(unix))]
async fn is_open(_: &Path) -> bool {
    false
}
