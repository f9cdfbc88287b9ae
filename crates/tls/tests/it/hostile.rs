//! Peers that are slow, lost or worse.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConnection;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use w3bstream_tls::{Error, ErrorKind, Tls, TlsSettings};

use crate::support::{House, block_on, good, pipe};

async fn patient(millis: u64) -> (House, Tls) {
    let house = House::new();
    let settings = TlsSettings { handshake_timeout: Duration::from_millis(millis), ..house.settings() };
    let tls = house.open(settings).await;
    (house, tls)
}

fn hello(house: &House) -> Vec<u8> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = ClientConnection::new(Arc::new(house.client(None)), name).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

/// Sends `bytes`, ends its side if `end`, and gives what came back with how it ended.
async fn say(tls: &Tls, bytes: &[u8], end: bool) -> (Vec<u8>, Error) {
    let (mut client, server) = pipe().await;
    let saying = async {
        client.write_all(bytes).await.unwrap();
        if end {
            client.shutdown().await.unwrap();
        }
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
        answer
    };
    let (answer, accepted) = tokio::join!(saying, tls.accept(server));
    (answer, accepted.expect_err("this is no handshake"))
}

#[test]
fn half_a_handshake_ends_in_time() {
    block_on(async {
        let (house, tls) = patient(200).await;
        let hello = hello(&house);
        for part in [&[][..], &hello[..1], &hello[..hello.len() / 2], &hello] {
            let began = Instant::now();
            let (_, error) = say(&tls, part, false).await;
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
            assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        }
        assert_eq!(tls.metrics().timed_out, 4);
        good(&tls, house.client(None)).await;
    });
}

#[test]
fn http_on_a_tls_port_is_told_so() {
    block_on(async {
        let (_house, tls) = patient(2000).await;
        let (answer, error) = say(&tls, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", false).await;
        assert_eq!(error.kind(), ErrorKind::NotTls);
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 ") && body.contains("https://"), "{answer}");
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
        let (answer, error) = say(&tls, &[0x10, 0x10, 0, 4, b'M', b'Q', b'T', b'T', 5], false).await;
        assert_eq!((answer, error.kind()), (Vec::new(), ErrorKind::NotTls), "MQTT without TLS");
        assert_eq!(tls.metrics().not_tls, 2);
    });
}

#[test]
fn a_peer_that_closes_is_a_failed_handshake() {
    block_on(async {
        let (house, tls) = patient(2000).await;
        for part in [Vec::new(), hello(&house)[..40].to_vec(), hello(&house)] {
            let (_, error) = say(&tls, &part, true).await;
            assert_eq!(error.kind(), ErrorKind::Handshake, "{error}");
        }
    });
}

#[test]
fn a_record_of_another_version_gets_an_alert() {
    block_on(async {
        let (house, tls) = patient(2000).await;
        // SSL 3.0 in the hello, and no extension that names a better version.
        let mut old = vec![0x16, 3, 0, 0, 45, 1, 0, 0, 41, 3, 0];
        old.extend([7; 32]);
        old.extend([0, 0, 2, 0, 0x2f, 1, 0]);
        let (answer, error) = say(&tls, &old, false).await;
        assert_eq!(error.kind(), ErrorKind::Handshake, "{error}");
        assert_eq!(answer.first(), Some(&0x15), "an alert: {answer:02x?}");
        good(&tls, house.client(None)).await;
    });
}

#[test]
fn damaged_hellos_end_and_harm_nobody() {
    block_on(async {
        let (house, tls) = patient(100).await;
        let hello = hello(&house);
        for place in (1..hello.len()).step_by(hello.len() / 40) {
            let mut damaged = hello.clone();
            damaged[place] ^= 0xff;
            say(&tls, &damaged, true).await;
        }
        good(&tls, house.client(None)).await;
        assert_eq!(tls.metrics().handshakes, 1);
    });
}
