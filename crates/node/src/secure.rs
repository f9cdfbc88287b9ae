//! TLS for every listener that wants it: one pair of files, and the rules for devices' certificates.

use std::io;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use w3bstream_endpoint_grpc::{Acceptor, Transport};
use w3bstream_endpoint_http::{Accept, BoxIo};
use w3bstream_endpoint_mqtt::{BoxedStream, PeerInfo, Secure};
use w3bstream_tls::{ClientAuth, StaleCrl, Tls, TlsSettings};
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
pub(crate) struct NodeTls(Arc<Tls>);

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
        settings.alpn = speaks.alpn().iter().map(|name| name.as_bytes().to_vec()).collect();
        if let Some(authorities) = files.client_authorities.as_ref().filter(|_| speaks == Speaks::Mqtt) {
            settings.clients = Some(ClientAuth {
                authorities: paths.dir().join(authorities),
                crl: files.client_crl.as_ref().map(|crl| paths.dir().join(crl)),
                stale_crl: if files.allow_stale_crl { StaleCrl::Warn } else { StaleCrl::Refuse },
                required: files.require_client_certificates,
            });
        }
        Ok(Self(Arc::new(Tls::open(settings, clock.clone()).await.context("[tls]")?)))
    }
}

#[async_trait]
impl Secure for NodeTls {
    async fn accept(&self, stream: TcpStream) -> Result<(BoxedStream, PeerInfo), String> {
        let (stream, peer) = self.0.accept(stream).await.map_err(|e| e.to_string())?;
        let certificate_dids = peer.certificate.map(|c| c.dids).unwrap_or_default();
        Ok((Box::pin(stream), PeerInfo { certificate_dids }))
    }
}

#[async_trait]
impl Accept for NodeTls {
    async fn accept(&self, stream: BoxIo) -> io::Result<BoxIo> {
        let config = self.0.fresh_config().await;
        Ok(Box::new(TlsAcceptor::from(config).accept(stream).await?))
    }
}

#[async_trait]
impl Acceptor for NodeTls {
    fn scheme(&self) -> &'static str {
        "https"
    }

    async fn accept(&self, stream: TcpStream) -> io::Result<Box<dyn Transport>> {
        let (stream, _) = self.0.accept(stream).await.map_err(|e| io::Error::other(e.to_string()))?;
        Ok(Box::new(stream))
    }
}
