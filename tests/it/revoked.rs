//! A real node with devices' certificates: what is revoked while a device is connected.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use w3bstream_types::{Algorithm, Control, Did};
use w3bstream_wallet_file::DeviceKey;

use crate::support::Home;

/// The node looks at connections, and at its files, once in a second.
const WITHIN: Duration = Duration::from_secs(15);

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A client that shows a certificate for a device, and trusts the node's.
    fn device(&self, did: &Did, serial: u64, node: &Path) -> TlsConnector {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(did.to_string().try_into().unwrap())];
        params.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(node).unwrap()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate.der().clone()], key)
            .unwrap();
        TlsConnector::from(Arc::new(config))
    }

    fn crl(&self, revoked: &[u64]) -> String {
        let entry = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(4000, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

/// A device that is connected and listens to its own topic.
struct Connected(TlsStream<TcpStream>);

impl Connected {
    /// The code of the SUBACK for its topic; `None` if it is not let in.
    async fn new(tls: &TlsConnector, url: &str, did: &Did) -> Option<(Self, u8)> {
        let stream = TcpStream::connect(url.strip_prefix("mqtts://").unwrap()).await.unwrap();
        let mut stream = tls.connect(ServerName::try_from("localhost").unwrap(), stream).await.ok()?;
        let connect = [0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 60, 0, 0, 1, b'x'];
        // In TLS 1.3 a client learns after its handshake that its certificate was refused.
        stream.write_all(&connect).await.ok()?;
        let connack = read(&mut stream).await?;
        assert_eq!((connack[0], connack[3]), (0x20, 0));
        let topic = format!("w3b/cold-chain/cmd/{did}");
        let mut body = vec![0, 1, 0, 0, u8::try_from(topic.len()).unwrap()];
        body.extend_from_slice(topic.as_bytes());
        body.push(1);
        stream.write_all(&[&[0x82, u8::try_from(body.len()).unwrap()][..], &body].concat()).await.ok()?;
        let suback = read(&mut stream).await?;
        Some((Self(stream), *suback.last()?))
    }

    async fn is_there(&mut self) -> bool {
        self.0.write_all(&[0xc0, 0]).await.is_ok() && read(&mut self.0).await.as_deref() == Some(&[0xd0, 0])
    }

    /// The code of the DISCONNECT that comes in time.
    async fn ended(&mut self) -> u8 {
        let packet =
            timeout(WITHIN, read(&mut self.0)).await.expect("it ends in time").expect("with a reason");
        assert_eq!(packet[0], 0xe0);
        packet[2]
    }
}

/// A packet of less than 128 bytes.
async fn read(stream: &mut TlsStream<TcpStream>) -> Option<Vec<u8>> {
    let mut packet = vec![0; 2];
    stream.read_exact(&mut packet).await.ok()?;
    let len = usize::from(packet[1]);
    packet.resize(2 + len, 0);
    stream.read_exact(&mut packet[2..]).await.ok()?;
    Some(packet)
}

#[test]
fn what_is_revoked_is_disconnected_and_not_let_in_again() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let home = Home::new().unwrap();
        let (authority, dir) = (Authority::new(), home.node_dir());
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let crl = dir.join("devices.crl");
        std::fs::write(dir.join("tls.crt"), own.pem()).unwrap();
        std::fs::write(dir.join("tls.key"), key.serialize_pem()).unwrap();
        std::fs::write(dir.join("devices.pem"), authority.0.pem()).unwrap();
        std::fs::write(&crl, authority.crl(&[])).unwrap();
        let env = [
            ("W3BSTREAM_TLS__CERTIFICATE", "tls.crt"),
            ("W3BSTREAM_TLS__KEY", "tls.key"),
            ("W3BSTREAM_TLS__CLIENT_AUTHORITIES", "devices.pem"),
            ("W3BSTREAM_TLS__CLIENT_CRL", "devices.crl"),
            ("W3BSTREAM_TLS__RELOAD_SECONDS", "1"),
            ("W3BSTREAM_MQTT__TLS_LISTEN", "127.0.0.1:0"),
            ("W3BSTREAM_MQTT__RECHECK_SECONDS", "1"),
        ];
        let process = home.start(&env.map(|(name, value)| (name, value.to_owned()))).await.unwrap();
        home.deploy(&process.admin).await.unwrap();
        let devices = [1, 2, 3].map(|_| DeviceKey::generate(Algorithm::EdDSA).unwrap());
        for device in &devices {
            home.register(&process.admin, device).await.unwrap();
        }
        let url = process.running.mqtts.clone().unwrap();
        let dids = [0, 1, 2].map(|n| devices[n].did());
        let tls = [0, 1, 2].map(|n| authority.device(&dids[n], n as u64 + 7, &dir.join("tls.crt")));
        let mut connected = Vec::new();
        for (tls, did) in tls.iter().zip(&dids) {
            let (client, code) = Connected::new(tls, &url, did).await.expect("it is let in");
            assert_eq!(code, 1, "a certificate gives its device its own topic");
            connected.push(client);
        }
        let other = Connected::new(&tls[0], &url, &dids[1]).await.expect("it is let in");
        assert_eq!(other.1, 0x87, "and no other device's");
        // It has the same client id, so it has taken the first one's place.
        connected[0] = other.0;

        let revocation = Control::RevokeDevice(dids[0].clone());
        process.admin.change(&"cold-chain".parse().unwrap(), revocation, &home.owner).await.unwrap();
        assert_eq!(connected[0].ended().await, 0x87, "its registration was revoked");
        assert!(connected[1].is_there().await && connected[2].is_there().await);

        std::fs::write(&crl, authority.crl(&[8])).unwrap();
        let began = Instant::now();
        assert_eq!(connected[1].ended().await, 0x87, "its certificate was revoked");
        println!("ended {:?} after the list was replaced", began.elapsed());
        assert!(connected[2].is_there().await);
        assert!(Connected::new(&tls[1], &url, &dids[1]).await.is_none(), "nor is it let in again");
        assert!(Connected::new(&tls[2], &url, &dids[2]).await.is_some());
        assert!(process.terminate().await.unwrap().success());
    });
}
