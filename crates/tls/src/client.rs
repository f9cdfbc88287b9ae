//! Connections to servers of others.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use w3bstream_types::Clock;

use crate::files::{all, private_key, read};
use crate::load::OwnTime;
use crate::{Error, ErrorKind};

/// An encrypted connection to a server.
pub type TlsClientStream = tokio_rustls::client::TlsStream<TcpStream>;

/// TLS of connections to one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSettings {
    /// The certificates of the authorities that are trusted, PEM; `None` trusts those of the system.
    pub authorities: Option<PathBuf>,
    /// What this node shows.
    pub identity: Option<Identity>,
    /// The largest file that is read, in bytes.
    pub max_file_bytes: u64,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self { authorities: None, identity: None, max_file_bytes: 16 << 20 }
    }
}

/// A certificate of this node, for servers that ask for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, PEM, followed by those of the authorities in between.
    pub certificate: PathBuf,
    /// Its private key, PEM, not encrypted.
    pub key: PathBuf,
}

/// Connects to servers with TLS 1.2 or 1.3. Open one anew to use files that have changed.
#[derive(Clone, Debug)]
pub struct TlsClient(Arc<ClientConfig>);

impl TlsClient {
    /// Reads the files.
    ///
    /// # Errors
    /// Which file is wrong, why, and what to do.
    pub async fn open(settings: &ClientSettings, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let most = settings.max_file_bytes;
        let cannot = |e: rustls::Error| {
            Error::new(ErrorKind::Config, "tls: these settings do not work together").with_source(e)
        };
        let builder =
            ClientConfig::builder_with_details(Arc::new(default_provider()), Arc::new(OwnTime(clock)))
                .with_protocol_versions(&[&TLS13, &TLS12])
                .map_err(cannot)?
                .with_root_certificates(roots(settings).await?);
        let Some(Identity { certificate, key }) = &settings.identity else {
            return Ok(Self(Arc::new(builder.with_no_client_auth())));
        };
        let pem = read("this node's certificate", certificate, most).await?;
        let chain = all(&pem, certificate, ErrorKind::Certificate, "this node's certificate, in PEM")?;
        let private = private_key(&read("its private key", key, most).await?, key)?;
        let config = builder.with_client_auth_cert(chain, private).map_err(|e| {
            let what = format!(
                "tls: the key in {} and the first certificate in {} do not belong together",
                key.display(),
                certificate.display()
            );
            Error::new(ErrorKind::Certificate, what).with_source(e)
        })?;
        Ok(Self(Arc::new(config)))
    }

    /// Does the handshake with the server, which must have a certificate for `host`, a DNS name or an IP address. The
    /// caller bounds the time.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if `host` is neither, [`ErrorKind::Handshake`] if the handshake fails.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> Result<TlsClientStream, Error> {
        let name = ServerName::try_from(host.to_owned()).map_err(|e| {
            let what = format!("tls: {host} is neither a DNS name nor an IP address");
            Error::new(ErrorKind::Config, what).with_source(e)
        })?;
        let connecting = TlsConnector::from(Arc::clone(&self.0)).connect(name, stream);
        Box::pin(connecting).await.map_err(|e| {
            Error::new(ErrorKind::Handshake, format!("tls: no handshake with {host}")).with_source(e)
        })
    }
}

async fn roots(settings: &ClientSettings) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let Some(path) = &settings.authorities else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let what = "tls: this system has no certificates of authorities; name a file with those to trust";
            return Err(Error::new(ErrorKind::Authorities, what));
        }
        return Ok(roots);
    };
    let pem = read("the authorities", path, settings.max_file_bytes).await?;
    let what = "the certificates of the authorities to trust, in PEM";
    for authority in all(&pem, path, ErrorKind::Authorities, what)? {
        roots.add(authority).map_err(|e| {
            let what = format!("tls: a certificate in {} cannot be used", path.display());
            Error::new(ErrorKind::Authorities, what).with_source(e)
        })?;
    }
    Ok(roots)
}
