//! A node that strangers reach: `init --public`, and what it then speaks.

use std::process::Command;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use w3bstream_node::Config;

use crate::support::{Home, binary};

fn connector(certificate: &std::path::Path) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn connect(tls: &TlsConnector, url: &str) -> TlsStream<TcpStream> {
    let (_, rest) = url.split_once("://").unwrap();
    let address = rest.split('/').next().unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    tls.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
}

fn init(dir: &std::path::Path, more: &[&str]) -> std::process::Output {
    Command::new(binary()).args(["init", "--json", "--public", "--dir"]).arg(dir).args(more).output().unwrap()
}

#[test]
fn a_public_node_asks_for_a_certificate_and_is_encrypted_on_all_addresses() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let refused = init(&folder.path().join("none"), &[]);
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && why.contains("--public --name node.example"), "{why}");
        assert!(!folder.path().join("none").exists(), "nothing was made");

        let home = Home::made_by(|dir| {
            let made = init(dir, &["--name", "localhost"]);
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            serde_json::from_slice::<serde_json::Value>(&made.stdout).unwrap()["admin_token"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .unwrap();
        let config = Config::load(&home.node_dir().join("node.toml"), std::iter::empty()).unwrap();
        for plain in [config.http.listen, config.mqtt.listen, config.admin.listen] {
            assert!(plain.ip().is_loopback(), "{plain} is plain");
        }
        assert!(config.grpc.enabled && config.grpc.tls && config.grpc.listen.ip().is_unspecified());

        let anywhere = ["HTTP__TLS_LISTEN", "MQTT__TLS_LISTEN", "MQTT__WSS_LISTEN", "GRPC__LISTEN"]
            .map(|name| (format!("W3BSTREAM_{name}"), "127.0.0.1:0".to_owned()));
        let env: Vec<(&str, String)> = anywhere.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        let process = home.start(&env).await.unwrap();
        let tls = connector(&home.node_dir().join("tls.crt"));
        let running = &process.running;

        let mut https = connect(&tls, running.https.as_deref().unwrap()).await;
        https
            .write_all(b"GET /v1/status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        https.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"full\":false"), "{answer}");

        let mut live = connect(&tls, running.https.as_deref().unwrap()).await;
        let asked = b"GET /v1/projects/p/events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        live.write_all(asked).await.unwrap();
        let mut answer = String::new();
        live.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401"), "strangers do not hear of all messages: {answer}");

        let mut mqtts = connect(&tls, running.mqtts.as_deref().unwrap()).await;
        mqtts.write_all(&[0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 60, 0, 0, 1, b'x']).await.unwrap();
        let mut connack = [0; 4];
        mqtts.read_exact(&mut connack).await.unwrap();
        assert_eq!((connack[0], connack[3]), (0x20, 0), "granted");

        let mut wss = connect(&tls, running.wss.as_deref().unwrap()).await;
        wss.write_all(b"GET /mqtt HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut head = [0; 12];
        wss.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 426", "there is a WebSocket behind it");

        let mut grpc = connect(&tls, running.grpc.as_deref().unwrap()).await;
        grpc.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let mut frame = [0; 9];
        grpc.read_exact(&mut frame).await.unwrap();
        assert_eq!(frame[3], 4, "HTTP/2 begins with SETTINGS");
        assert!(process.terminate().await.unwrap().success());
    });
}
