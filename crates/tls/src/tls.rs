//! Handshakes, and the look at the files before them.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use rustls::{CertificateError, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use w3bstream_types::{Clock, Timestamp};

use crate::files::{Files, Fingerprint};
use crate::load::{Loaded, load, unix_time};
use crate::{Error, ErrorKind, Peer, PeerCertificate, TlsSettings};

/// An encrypted connection.
pub type TlsStream = tokio_rustls::server::TlsStream<TcpStream>;

/// The first byte of every TLS connection: a handshake record (RFC 8446 §5.1).
const HANDSHAKE: u8 = 0x16;
/// What a client is told that speaks HTTP to a TLS port.
const WRONG_PORT: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 41\r\n\r\nThis port speaks TLS; use https:// here.\n";
/// How long a peer whose handshake failed is heard out. Closing a socket with unread bytes would reset the
/// connection, and the peer would lose the alert with the reason.
const LINGER: Duration = Duration::from_millis(500);
/// How many of its bytes are thrown away meanwhile.
const MOST_THROWN: u64 = 64 << 10;

/// TLS of one listener. Share it in an [`Arc`].
#[derive(Debug)]
pub struct Tls {
    settings: TlsSettings,
    clock: Arc<dyn Clock>,
    loaded: RwLock<Arc<Loaded>>,
    looked: tokio::sync::Mutex<Looked>,
    trouble: Mutex<Trouble>,
    counters: Counters,
}

/// When the files were looked at, and what had been found.
#[derive(Debug)]
struct Looked {
    at: Instant,
    /// Contents that are broken, so that they are reported once.
    refused: Option<Fingerprint>,
}

#[derive(Debug, Default)]
struct Trouble {
    last_error: Option<String>,
    warned: Vec<String>,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// What a listener's TLS has counted since it was opened.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Metrics {
            $($(#[$doc])* pub $name: u64,)+
        }

        #[derive(Debug, Default)]
        struct Counters {
            $($name: AtomicU64,)+
        }

        impl Counters {
            fn snapshot(&self) -> Metrics {
                Metrics { $($name: self.$name.load(Ordering::Relaxed),)+ }
            }
        }
    };
}

counters! {
    /// Handshakes that succeeded.
    handshakes,
    /// Handshakes that took too long.
    timed_out,
    /// Connections that did not begin with TLS.
    not_tls,
    /// Handshakes that failed because of the client's certificate.
    peers_refused,
    /// Handshakes that failed otherwise.
    failed,
    /// Times that new contents of the files were taken into use.
    reloads,
    /// Times that new contents of the files were broken, or that a file could not be read.
    reloads_failed,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// Which setting or file is wrong, why, and what to do.
    pub async fn open(settings: TlsSettings, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        settings.check()?;
        let files = Files::read(&settings).await?;
        let loaded = load(&files, &settings, &clock)?;
        let tls = Self {
            settings,
            clock,
            loaded: RwLock::new(Arc::new(loaded)),
            looked: tokio::sync::Mutex::new(Looked { at: Instant::now(), refused: None }),
            trouble: Mutex::default(),
            counters: Counters::default(),
        };
        tls.warn();
        Ok(tls)
    }

    /// Does the handshake. Call it in the connection's own task.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`], [`ErrorKind::NotTls`], [`ErrorKind::Peer`] or [`ErrorKind::Handshake`]. The peer was told
    /// as far as the protocol allows, and the connection is closed.
    pub async fn accept(&self, stream: TcpStream) -> Result<(TlsStream, Peer), Error> {
        let limit = self.settings.handshake_timeout;
        let done = timeout(limit, async {
            self.look_if_due().await;
            Box::pin(self.handshake(stream)).await
        });
        let done = done.await.unwrap_or_else(|_| {
            let what = format!("tls: no complete handshake within {limit:?} (handshake_timeout)");
            Err(Error::new(ErrorKind::Timeout, what))
        });
        let counter = match done.as_ref().map_err(Error::kind) {
            Ok(_) => &self.counters.handshakes,
            Err(ErrorKind::Timeout) => &self.counters.timed_out,
            Err(ErrorKind::NotTls) => &self.counters.not_tls,
            Err(ErrorKind::Peer) => &self.counters.peers_refused,
            Err(_) => &self.counters.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        done
    }

    async fn handshake(&self, mut stream: TcpStream) -> Result<(TlsStream, Peer), Error> {
        let mut start = [0; 8];
        let got = stream.peek(&mut start).await.unwrap_or(0);
        let start = start.get(..got).unwrap_or_default();
        match start.first() {
            None => {
                return Err(Error::new(
                    ErrorKind::Handshake,
                    "tls: the client closed before it said anything",
                ));
            }
            Some(&HANDSHAKE) => {}
            Some(_) => {
                let http = is_http(start);
                if http {
                    let _ = stream.write_all(WRONG_PORT).await;
                }
                hear_out(&mut stream).await;
                let spoken = if http { "HTTP; clients use https:// here" } else { "something else" };
                return Err(Error::new(
                    ErrorKind::NotTls,
                    format!("tls: the client speaks no TLS but {spoken}"),
                ));
            }
        }
        let acceptor = TlsAcceptor::from(self.config());
        match acceptor.accept(stream).into_fallible().await {
            Ok(stream) => {
                let peer = peer(&stream)?;
                Ok((stream, peer))
            }
            Err((error, mut stream)) => {
                hear_out(&mut stream).await;
                Err(explain(error))
            }
        }
    }

    /// What handshakes use now, for a listener that does them itself. Ask again for each.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.loaded().config)
    }

    /// The same, after the files were looked at if that is due.
    pub async fn fresh_config(&self) -> Arc<ServerConfig> {
        self.look_if_due().await;
        self.config()
    }

    fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn look_if_due(&self) {
        // Who finds another one looking uses what there is.
        let Ok(mut looked) = self.looked.try_lock() else { return };
        if looked.at.elapsed() >= self.settings.reload_every {
            // What is wrong was noted.
            let _ = self.look(&mut looked).await;
        }
    }

    /// Looks at the files now, whenever the last look was. True if new contents were taken into use.
    ///
    /// # Errors
    /// What is wrong with the files; the old contents stay in use.
    pub async fn reload(&self) -> Result<bool, Error> {
        let mut looked = self.looked.lock().await;
        self.look(&mut looked).await
    }

    async fn look(&self, looked: &mut Looked) -> Result<bool, Error> {
        looked.at = Instant::now();
        let found = match Files::read(&self.settings).await {
            Ok(files) => self.take(&files),
            Err(error) => Err((error, None)),
        };
        self.warn();
        match found {
            Ok(new) => {
                looked.refused = None;
                self.trouble().last_error = None;
                Ok(new)
            }
            Err((error, contents)) => {
                // The same broken contents are reported once, whoever looks at them how often.
                let known = contents.is_some() && looked.refused == contents;
                if !known {
                    self.counters.reloads_failed.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(%error, "TLS files cannot be used; those read before stay in use");
                }
                looked.refused = contents;
                self.trouble().last_error = Some(error.to_string());
                Err(error)
            }
        }
    }

    fn take(&self, files: &Files) -> Result<bool, (Error, Option<Fingerprint>)> {
        let fingerprint = files.fingerprint();
        if fingerprint == self.loaded().fingerprint {
            return Ok(false);
        }
        let loaded = load(files, &self.settings, &self.clock).map_err(|error| (error, Some(fingerprint)))?;
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
        self.counters.reloads.fetch_add(1, Ordering::Relaxed);
        tracing::info!(certificate = %self.settings.certificate.display(), "TLS files were read again");
        Ok(true)
    }

    /// Whether a peer that has connected would still be taken: its certificate may have expired or been revoked since.
    /// A peer without a certificate is, where none is required.
    ///
    /// # Errors
    /// [`ErrorKind::Peer`] with the reason.
    pub fn recheck(&self, peer: &Peer) -> Result<(), Error> {
        let loaded = self.loaded();
        let Some(verifier) = &loaded.verifier else { return Ok(()) };
        let chain = peer.certificate.as_ref().map(|c| c.chain.as_slice()).unwrap_or_default();
        match chain.split_first() {
            None if verifier.client_auth_mandatory() => {
                Err(Error::new(ErrorKind::Peer, "tls: the client has shown no certificate, and must"))
            }
            None => Ok(()),
            Some((first, between)) => {
                let now = unix_time(self.clock.now());
                verifier.verify_client_cert(first, between, now).map(drop).map_err(|e| of_rustls(&e))
            }
        }
    }

    /// Rises by one whenever new contents of the files are taken into use.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.counters.reloads.load(Ordering::Relaxed)
    }

    /// Why the files' newest contents are not in use, if they are not.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.trouble().last_error.clone()
    }

    /// What an operator should know now: a certificate that has expired or soon will, a key that others may read, a
    /// revocation list that is out of date.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.loaded().facts.warnings(&self.settings, self.clock.now())
    }

    /// When the node's certificate ends.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.loaded().facts.validity.1
    }

    /// What was counted.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.counters.snapshot()
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs the warnings that are new.
    fn warn(&self) {
        let warnings = self.warnings();
        let mut trouble = self.trouble();
        for warning in warnings.iter().filter(|w| !trouble.warned.contains(w)) {
            tracing::warn!("{warning}");
        }
        trouble.warned = warnings;
    }
}

fn is_http(start: &[u8]) -> bool {
    let methods = ["GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "PATCH ", "OPTIONS ", "CONNECT ", "PRI * "];
    methods.iter().any(|method| start.starts_with(method.as_bytes()))
}

/// Says that nothing more comes, and reads what the peer has still sent.
async fn hear_out(stream: &mut TcpStream) {
    let heard = timeout(LINGER, async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(MOST_THROWN), &mut tokio::io::sink()).await
    });
    let _ = heard.await;
}

fn peer(stream: &TlsStream) -> Result<Peer, Error> {
    let (_, connection) = stream.get_ref();
    let chain = connection.peer_certificates().unwrap_or_default();
    Ok(Peer {
        server_name: connection.server_name().map(str::to_owned),
        alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
        certificate: if chain.is_empty() { None } else { Some(PeerCertificate::read(chain)?) },
    })
}

fn explain(error: io::Error) -> Error {
    match error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
        Some(e) => of_rustls(e),
        None => {
            Error::new(ErrorKind::Handshake, "tls: the connection ended in the handshake").with_source(error)
        }
    }
}

fn of_rustls(error: &rustls::Error) -> Error {
    let (kind, what) = match error {
        rustls::Error::NoCertificatesPresented => {
            (ErrorKind::Peer, "the client has shown no certificate, and must (clients.required)")
        }
        rustls::Error::InvalidCertificate(why) => (ErrorKind::Peer, refused(why)),
        rustls::Error::InvalidCertRevocationList(_) => (
            ErrorKind::Peer,
            "the revocation list for the client's certificate is not one of its authority (clients.crl)",
        ),
        rustls::Error::AlertReceived(_) => (
            ErrorKind::Handshake,
            "the client ended the handshake; if it does not trust this certificate, give it the authority's",
        ),
        rustls::Error::NoApplicationProtocol => {
            (ErrorKind::Handshake, "the client speaks none of the protocols of this port (alpn)")
        }
        rustls::Error::PeerIncompatible(_) => {
            (ErrorKind::Handshake, "the client cannot do TLS 1.2 or 1.3 as this node does it")
        }
        _ => (ErrorKind::Handshake, "the handshake failed"),
    };
    Error::new(kind, format!("tls: {what}")).with_source(error.clone())
}

fn refused(why: &CertificateError) -> &'static str {
    match why {
        CertificateError::Revoked => "the client's certificate was revoked",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the client's certificate has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the client's certificate is not valid yet"
        }
        CertificateError::UnknownIssuer => {
            "none of the authorities (clients.authorities) issued the client's certificate"
        }
        CertificateError::UnknownRevocationStatus => {
            "the revocation lists (clients.crl) have none of the authority of the client's certificate; add it"
        }
        CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. } => {
            "the revocation list for the client's certificate is out of date; fetch the new one (clients.crl)"
        }
        _ => "the client's certificate was refused",
    }
}
