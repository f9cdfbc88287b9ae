//! From files to what handshakes use.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};
use w3bstream_types::{Clock, Timestamp};

use crate::files::{Files, Fingerprint};
use crate::{ClientAuth, Error, ErrorKind, StaleCrl, TlsSettings};

/// What handshakes use.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) verifier: Option<Arc<dyn ClientCertVerifier>>,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) facts: Facts,
}

/// What people are told about it.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// When the node's certificate begins and ends.
    pub(crate) validity: (Timestamp, Timestamp),
    /// When the first of the revocation lists is out of date.
    pub(crate) crl_until: Option<Timestamp>,
    key_is_open: bool,
}

/// Builds it all.
pub(crate) fn load(files: &Files, settings: &TlsSettings, clock: &Arc<dyn Clock>) -> Result<Loaded, Error> {
    let provider = Arc::new(default_provider());
    let chain = files.chain(&settings.certificate)?;
    let validity = validity(chain.first(), settings)?;
    let certified = certified(chain, files, settings, &provider)?;
    let (verifier, crl_until) = match &settings.clients {
        None => (None, None),
        Some(clients) => {
            let (verifier, until) = verifier(files, clients, &provider)?;
            (Some(verifier), until)
        }
    };
    let cannot = |e: rustls::Error| {
        Error::new(ErrorKind::Config, "tls: these settings do not work together").with_source(e)
    };
    let time = Arc::new(OwnTime(Arc::clone(clock)));
    let builder = ServerConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(cannot)?;
    let builder = match &verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols.clone_from(&settings.alpn);
    if verifier.is_some() {
        // A resumed session would be taken without a look at the certificate, revoked or not.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    let facts = Facts { validity, crl_until, key_is_open: files.key_is_open };
    Ok(Loaded { config: Arc::new(config), verifier, fingerprint: files.fingerprint(), facts })
}

fn validity(
    certificate: Option<&CertificateDer<'_>>,
    settings: &TlsSettings,
) -> Result<(Timestamp, Timestamp), Error> {
    let der = certificate.map(AsRef::as_ref).unwrap_or_default();
    let (_, certificate) = x509_parser::parse_x509_certificate(der).map_err(|e| {
        let what = format!("tls: the first certificate in {} cannot be read", settings.certificate.display());
        Error::new(ErrorKind::Certificate, what).with_source(e)
    })?;
    let validity = certificate.validity();
    Ok((timestamp(validity.not_before.timestamp()), timestamp(validity.not_after.timestamp())))
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    files: &Files,
    settings: &TlsSettings,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Error> {
    let (certificate, key) = (settings.certificate.display(), settings.key.display());
    let private = files.key(&settings.key)?;
    CertifiedKey::from_der(chain, private, provider).map_err(|e| {
        let (kind, what) = match e {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => (
                ErrorKind::Certificate,
                format!(
                    "tls: the key in {key} is not that of the first certificate in {certificate}; put the node's own certificate first, or name the key that it was issued for"
                ),
            ),
            rustls::Error::InvalidCertificate(_) => {
                (ErrorKind::Certificate, format!("tls: the first certificate in {certificate} is broken"))
            }
            _ => (
                ErrorKind::Key,
                format!("tls: the key in {key} cannot be used; it must be ECDSA (P-256, P-384), Ed25519 or RSA"),
            ),
        };
        Error::new(kind, what).with_source(e)
    })
}

type Verifier = Arc<dyn ClientCertVerifier>;

fn verifier(
    files: &Files,
    clients: &ClientAuth,
    provider: &Arc<CryptoProvider>,
) -> Result<(Verifier, Option<Timestamp>), Error> {
    let mut roots = RootCertStore::empty();
    for authority in files.authorities(&clients.authorities)? {
        roots.add(authority).map_err(|e| {
            let what = format!("tls: a certificate in {} cannot be used", clients.authorities.display());
            Error::new(ErrorKind::Authorities, what).with_source(e)
        })?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(provider));
    if !clients.required {
        builder = builder.allow_unauthenticated();
    }
    let mut until = None;
    if let Some(path) = &clients.crl {
        let lists = files.crl(path)?;
        let broken = |why: String| {
            Error::new(
                ErrorKind::Crl,
                format!("tls: a revocation list in {} is broken: {why}", path.display()),
            )
        };
        for list in &lists {
            let (_, list) = x509_parser::parse_x509_crl(list.as_ref()).map_err(|e| broken(e.to_string()))?;
            let next = list.next_update().map(|at| timestamp(at.timestamp()));
            until = until.into_iter().chain(next).min();
        }
        builder = builder.with_crls(lists);
        if clients.stale_crl == StaleCrl::Refuse {
            builder = builder.enforce_revocation_expiration();
        }
    }
    let verifier = builder.build().map_err(|e| {
        let of = clients.crl.as_ref().unwrap_or(&clients.authorities).display();
        Error::new(ErrorKind::Crl, format!("tls: what is in {of} cannot be used")).with_source(e)
    })?;
    Ok((verifier, until))
}

impl Facts {
    /// What an operator should know now, in words.
    pub(crate) fn warnings(&self, settings: &TlsSettings, now: Timestamp) -> Vec<String> {
        let mut warnings = Vec::new();
        let (certificate, key) = (settings.certificate.display(), settings.key.display());
        if self.key_is_open {
            warnings.push(format!("tls: others may read the private key; `chmod o= {key}`"));
        }
        let (from, until) = self.validity;
        let soon = u64::try_from(settings.warn_before.as_millis()).unwrap_or(u64::MAX);
        let left = until.millis().saturating_sub(now.millis());
        if now < from {
            warnings.push(format!(
                "tls: the certificate in {certificate} is not valid yet; look at this machine's clock"
            ));
        } else if now > until {
            warnings.push(format!(
                "tls: the certificate in {certificate} has expired; clients refuse it: renew it"
            ));
        } else if left < soon {
            let days = left / 86_400_000;
            warnings.push(format!("tls: the certificate in {certificate} expires in {days} days; renew it"));
        }
        let crl = settings.clients.as_ref().and_then(|c| c.crl.as_ref().map(|path| (path, c.stale_crl)));
        if let (Some((path, stale)), Some(until)) = (crl, self.crl_until)
            && now > until
        {
            let then = match stale {
                StaleCrl::Refuse => "devices of its authority are refused",
                StaleCrl::Warn => "devices that were revoked since are taken",
            };
            warnings.push(format!(
                "tls: a revocation list in {} is out of date, so {then}; fetch the new one",
                path.display()
            ));
        }
        warnings
    }
}

/// Milliseconds since the epoch; times before it are its first.
pub(crate) fn timestamp(secs: i64) -> Timestamp {
    Timestamp(u64::try_from(secs).unwrap_or(0).saturating_mul(1000))
}

pub(crate) fn unix_time(at: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(at.millis()))
}

/// The clock of those who made the listener.
#[derive(Debug)]
pub(crate) struct OwnTime(pub(crate) Arc<dyn Clock>);

impl TimeProvider for OwnTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.0.now()))
    }
}
