//! HTTPS, with an authority that only the settings name.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use w3bstream_chain::{Chain as _, ErrorKind};
use w3bstream_chain_evm::{EvmChain, EvmSettings};

use crate::block_on;

const AUTHORITY: &[u8] = include_bytes!("../fixtures/tls-authority.der");
const NODE: &[u8] = include_bytes!("../fixtures/tls-node.der");
const KEY: &[u8] = include_bytes!("../fixtures/tls-node-key.der");

/// Answers every request over TLS with chain 7; gives its port.
fn serve() -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(NODE)], PrivatePkcs8KeyDer::from(KEY).into())
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for tcp in listener.incoming().flatten() {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            // A client that does not trust the certificate ends the handshake.
            let _ = answer(rustls::StreamOwned::new(session, tcp));
        }
    });
    port
}

fn answer(tls: rustls::StreamOwned<rustls::ServerConnection, std::net::TcpStream>) -> std::io::Result<()> {
    let mut reader = BufReader::new(tls);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = n.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut request = vec![0; length];
    reader.read_exact(&mut request)?;
    let request: serde_json::Value = serde_json::from_slice(&request).unwrap();
    let body = serde_json::json!({"jsonrpc": "2.0", "id": request["id"], "result": "0x7"}).to_string();
    let tls = reader.get_mut();
    write!(tls, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
    tls.flush()
}

#[test]
fn a_node_over_https_is_asked_if_its_authority_is_trusted_and_not_otherwise() {
    let url = format!("https://127.0.0.1:{}", serve());
    let settings = EvmSettings {
        timeout: Duration::from_secs(5),
        backoff: Duration::from_millis(1),
        authorities: vec![AUTHORITY.to_vec()],
        ..EvmSettings::new(&url, 7)
    };
    let chain = EvmChain::new(settings.clone()).unwrap();
    assert_eq!(block_on(chain.chain_id()).unwrap(), 7);
    // With the authorities of the operating system alone, it is a stranger.
    let untrusting = EvmSettings { authorities: vec![], ..settings };
    match EvmChain::new(untrusting) {
        Ok(chain) => {
            let e = block_on(chain.chain_id()).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Unavailable, "{e}");
        }
        // A system without certificates of its own.
        Err(e) => assert!(e.to_string().contains("certificates"), "{e}"),
    }
}
