//! Settings.

use std::path::PathBuf;
use std::time::Duration;

use crate::{Error, ErrorKind};

/// TLS of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificate of this node, PEM, followed by those of the authorities in between.
    pub certificate: PathBuf,
    /// Its private key, PEM: PKCS #8, SEC 1 or PKCS #1, not encrypted. Readable by the node's user only.
    pub key: PathBuf,
    /// Certificates of devices; `None` asks for none.
    pub clients: Option<ClientAuth>,
    /// Protocols that the listener speaks, the preferred one first (RFC 7301). Empty: clients are not asked. A client
    /// that offers only others is refused; one that offers none is not.
    pub alpn: Vec<Vec<u8>>,
    /// From the TCP connection to the end of the handshake.
    pub handshake_timeout: Duration,
    /// How long what was read from files is used before they are looked at again. Zero looks before each handshake.
    pub reload_every: Duration,
    /// How long before the end of a certificate's time there are warnings.
    pub warn_before: Duration,
    /// The largest file that is read, in bytes.
    pub max_file_bytes: u64,
}

/// Which certificates devices show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuth {
    /// The certificates of the authorities that issue devices' certificates, PEM.
    pub authorities: PathBuf,
    /// Their revocation lists, PEM.
    pub crl: Option<PathBuf>,
    /// What to do when a revocation list is out of date.
    pub stale_crl: StaleCrl,
    /// True refuses who shows no certificate; false takes them, and [`Peer::certificate`](crate::Peer) is `None`. A
    /// certificate that is shown must be good in any case.
    pub required: bool,
}

/// What to do with devices' certificates when their revocation list is out of date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StaleCrl {
    /// Refuse them: the newest list might revoke them.
    #[default]
    Refuse,
    /// Take them, and warn.
    Warn,
}

impl TlsSettings {
    /// Settings with the defaults: no certificates of devices, no ALPN, 10 s for a handshake, files looked at every
    /// minute, warnings for two weeks before the end, files of 16 MiB at most.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
            clients: None,
            alpn: Vec::new(),
            handshake_timeout: Duration::from_secs(10),
            reload_every: Duration::from_secs(60),
            warn_before: Duration::from_secs(14 * 86_400),
            max_file_bytes: 16 << 20,
        }
    }

    /// Checks that the settings make sense.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] naming the setting and what it may be.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |what: &str| Err(Error::new(ErrorKind::Config, format!("tls: {what}")));
        if self.handshake_timeout.is_zero() {
            return wrong("handshake_timeout must be longer than nothing");
        }
        if self.max_file_bytes == 0 {
            return wrong("max_file_bytes must be at least 1");
        }
        if self.alpn.iter().any(|name| name.is_empty() || name.len() > 255) {
            return wrong("each name in alpn must have between 1 and 255 bytes");
        }
        Ok(())
    }
}

impl ClientAuth {
    /// Every device shows a certificate of these authorities; no revocation list.
    pub fn required(authorities: impl Into<PathBuf>) -> Self {
        Self { authorities: authorities.into(), crl: None, stale_crl: StaleCrl::default(), required: true }
    }
}
