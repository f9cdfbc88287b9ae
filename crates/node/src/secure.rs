//! TLS for every listener that wants it: one pair of files, and the rules for devices' certificates.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use w3bstream_endpoint_grpc::{Acceptor, Transport};
use w3bstream_endpoint_http::{Accept, BoxIo};
use w3bstream_endpoint_mqtt::{BoxedStream, PeerInfo, Secure, Shown};
use w3bstream_tls::{ClientAuth, Peer, StaleCrl, Tls, TlsSettings};
use w3bstream_types::Clock;

use crate::{Paths, TlsFiles};

/// What the listener speaks that TLS is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http,
    /// With devices' certificates.
    Mqtt,
    Grpc,
}

impl Speaks {
    /// The names of ALPN (RFC 7301).
    const fn alpn(self) -> &'static [&'static str] {
        match self {
            Self::Http => &["h2", "http/1.1"],
            Self::Mqtt => &[],
            Self::Grpc => &["h2"],
        }
    }
}

/// TLS for one listener.
#[derive(Debug)]
pub(crate) struct NodeTls {
    tls: Arc<Tls>,
    clock: Arc<dyn Clock>,
}

impl NodeTls {
    /// Opens the files.
    pub(crate) async fn open(
        files: &TlsFiles,
        paths: &Paths,
        speaks: Speaks,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let (Some(certificate), Some(key)) = (&files.certificate, &files.key) else {
            bail!(
                "a listener wants TLS, and there is no certificate; name both files in node.toml:\n  [tls]\n  \
                 certificate = \"tls.crt\"\n  key = \"tls.key\""
            );
        };
        let mut settings = TlsSettings::new(paths.dir().join(certificate), paths.dir().join(key));
        settings.reload_every = Duration::from_secs(files.reload_seconds);
        settings.alpn = speaks.alpn().iter().map(|name| name.as_bytes().to_vec()).collect();
        if let Some(authorities) = files.client_authorities.as_ref().filter(|_| speaks == Speaks::Mqtt) {
            settings.clients = Some(ClientAuth {
                authorities: paths.dir().join(authorities),
                crl: files.client_crl.as_ref().map(|crl| paths.dir().join(crl)),
                stale_crl: if files.allow_stale_crl { StaleCrl::Warn } else { StaleCrl::Refuse },
                required: files.require_client_certificates,
            });
        }
        let tls = Arc::new(Tls::open(settings, clock.clone()).await.context("[tls]")?);
        Ok(Self { tls, clock: Arc::clone(clock) })
    }
}

/// A certificate that a device has shown.
#[derive(Debug)]
struct ShownCertificate {
    tls: Arc<Tls>,
    peer: Peer,
    /// With which contents of the files it was last verified: only others can have revoked it.
    verified_with: AtomicU64,
    clock: Arc<dyn Clock>,
}

impl Shown for ShownCertificate {
    fn holds(&self) -> bool {
        if self.peer.certificate.as_ref().is_some_and(|c| c.not_after <= self.clock.now()) {
            return false;
        }
        let generation = self.tls.generation();
        if self.verified_with.load(Ordering::Relaxed) == generation {
            return true;
        }
        let good = self.tls.recheck(&self.peer);
        if let Err(error) = &good {
            tracing::info!(%error, "a device's certificate is good no longer");
        } else {
            self.verified_with.store(generation, Ordering::Relaxed);
        }
        good.is_ok()
    }
}

#[async_trait]
impl Secure for NodeTls {
    async fn accept(&self, stream: TcpStream) -> Result<(BoxedStream, PeerInfo), String> {
        // Before the handshake: what changes during it counts as new.
        let verified_with = AtomicU64::new(self.tls.generation());
        let (stream, peer) = self.tls.accept(stream).await.map_err(|e| e.to_string())?;
        let certificate_dids = peer.certificate.as_ref().map(|c| c.dids.clone()).unwrap_or_default();
        let shown = peer.certificate.is_some().then(|| {
            let (tls, clock) = (Arc::clone(&self.tls), Arc::clone(&self.clock));
            let shown: Arc<dyn Shown> = Arc::new(ShownCertificate { tls, peer, verified_with, clock });
            shown
        });
        Ok((Box::pin(stream), PeerInfo { certificate_dids, shown }))
    }

    async fn refresh(&self) {
        self.tls.fresh_config().await;
    }
}

#[async_trait]
impl Accept for NodeTls {
    async fn accept(&self, stream: BoxIo) -> io::Result<BoxIo> {
        let config = self.tls.fresh_config().await;
        Ok(Box::new(TlsAcceptor::from(config).accept(stream).await?))
    }
}

#[async_trait]
impl Acceptor for NodeTls {
    fn scheme(&self) -> &'static str {
        "https"
    }

    async fn accept(&self, stream: TcpStream) -> io::Result<Box<dyn Transport>> {
        let (stream, _) = self.tls.accept(stream).await.map_err(|e| io::Error::other(e.to_string()))?;
        Ok(Box::new(stream))
    }
}
