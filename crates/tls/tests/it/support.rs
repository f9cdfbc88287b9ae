//! Authorities, certificates, a listener and a client.

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use rustls::crypto::ring::default_provider;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use w3bstream_tls::{ClientAuth, Error, Peer, Tls, TlsSettings, TlsStream};
use w3bstream_types::{Clock, ManualClock, Timestamp};

/// The time of all tests, in seconds.
pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const DAY: u64 = 86_400;
pub(crate) const DID: &str = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async { timeout(Duration::from_secs(20), future).await.expect("the test hangs") })
}

fn at(secs: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(secs.try_into().unwrap()).unwrap()
}

/// A certificate with its key, PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// An authority, good for a year before and after now.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        Self(CertifiedIssuer::self_signed(Self::params(name), KeyPair::generate().unwrap()).unwrap())
    }

    /// An authority that this one vouches for, with its serial number.
    pub(crate) fn below(&self, name: &str, serial: u64) -> Self {
        let mut params = Self::params(name);
        params.serial_number = Some(serial.into());
        Self(CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &self.0).unwrap())
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = (at(NOW - 365 * DAY), at(NOW + 365 * DAY));
        params
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// For a listener on localhost, good until `until`.
    pub(crate) fn server(&self, until: u64) -> Pair {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (at(NOW - DAY), at(until));
        self.sign(&params)
    }

    /// For the device [`DID`], good for 30 days.
    pub(crate) fn device(&self, serial: u64) -> Pair {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Pump 7");
        let uri = |text: &str| SanType::URI(text.try_into().unwrap());
        params.subject_alt_names = vec![uri("https://example.org/pump"), uri(DID)];
        params.serial_number = Some(SerialNumber::from(serial));
        (params.not_before, params.not_after) = (at(NOW - DAY), at(NOW + 30 * DAY));
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// A revocation list, up to date until `until`.
    pub(crate) fn crl(&self, revoked: &[u64], until: u64) -> String {
        let entry = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: at(NOW - DAY),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: at(NOW - DAY),
            next_update: at(until),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

/// A folder with a listener's files, and the listener's clock.
pub(crate) struct House {
    folder: tempfile::TempDir,
    pub(crate) authority: Authority,
    pub(crate) clock: Arc<ManualClock>,
}

impl House {
    pub(crate) fn new() -> Self {
        let house = Self {
            folder: tempfile::tempdir().unwrap(),
            authority: Authority::new("Servers"),
            clock: Arc::new(ManualClock::new(Timestamp(NOW * 1000))),
        };
        house.put_server(&house.authority.server(NOW + 90 * DAY));
        house
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        close_to_others(&path);
        path
    }

    pub(crate) fn put_server(&self, pair: &Pair) {
        self.put("certificate.pem", &pair.certificate);
        self.put("key.pem", &pair.key);
    }

    /// Looks at its files before each handshake.
    pub(crate) fn settings(&self) -> TlsSettings {
        TlsSettings {
            reload_every: Duration::ZERO,
            ..TlsSettings::new(self.path("certificate.pem"), self.path("key.pem"))
        }
    }

    /// The same, for devices of `authority`.
    pub(crate) fn mutual(&self, authority: &Authority) -> TlsSettings {
        let clients = ClientAuth::required(self.put("authorities.pem", &authority.pem()));
        TlsSettings { clients: Some(clients), ..self.settings() }
    }

    pub(crate) async fn try_open(&self, settings: TlsSettings) -> Result<Tls, Error> {
        Tls::open(settings, Arc::clone(&self.clock) as Arc<dyn Clock>).await
    }

    pub(crate) async fn open(&self, settings: TlsSettings) -> Tls {
        self.try_open(settings).await.unwrap()
    }

    /// A client that trusts the listener's authority.
    pub(crate) fn client(&self, device: Option<&Pair>) -> ClientConfig {
        client(&self.authority.pem(), device, rustls::ALL_VERSIONS)
    }
}

#[cfg(unix)]
fn close_to_others(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[cfg(not(unix))]
fn close_to_others(_: &Path) {}

#[derive(Debug)]
struct Always;

impl TimeProvider for Always {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(NOW)))
    }
}

pub(crate) fn client(
    trusted: &str,
    device: Option<&Pair>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_details(Arc::new(default_provider()), Arc::new(Always))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let Some(device) = device else { return builder.with_no_client_auth() };
    let chain =
        CertificateDer::pem_slice_iter(device.certificate.as_bytes()).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(device.key.as_bytes()).unwrap();
    builder.with_client_auth_cert(chain, key).unwrap()
}

pub(crate) type ClientStream = tokio_rustls::client::TlsStream<TcpStream>;

/// Two ends of a TCP connection: the client's, and the listener's.
pub(crate) async fn pipe() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (client, server) =
        tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (client.unwrap(), server.unwrap().0)
}

/// A handshake as both sides see it. The client reads up to the first byte or the end, so that it has seen what comes
/// after its own part of the handshake; the listener sends that byte if it is content.
pub(crate) async fn shake(
    tls: &Tls,
    config: &Arc<ClientConfig>,
) -> (std::io::Result<ClientStream>, Result<(TlsStream, Peer), Error>) {
    let (client, server) = pipe().await;
    let connecting = async {
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::clone(config)).connect(name, client).await?;
        stream.read_u8().await?;
        Ok(stream)
    };
    let accepting = async {
        let mut accepted = tls.accept(server).await?;
        accepted.0.write_all(b"!").await.unwrap();
        accepted.0.flush().await.unwrap();
        Ok(accepted)
    };
    tokio::join!(connecting, accepting)
}

/// A handshake that succeeds.
pub(crate) async fn good(tls: &Tls, config: ClientConfig) -> (ClientStream, TlsStream, Peer) {
    let (client, server) = shake(tls, &Arc::new(config)).await;
    let (server, peer) = server.unwrap();
    (client.unwrap(), server, peer)
}

/// A handshake that the listener refuses, and why.
pub(crate) async fn bad(tls: &Tls, config: ClientConfig) -> Error {
    let (client, server) = shake(tls, &Arc::new(config)).await;
    assert!(client.is_err(), "the client learns of it");
    server.expect_err("the listener refuses it")
}
