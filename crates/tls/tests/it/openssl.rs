//! With OpenSSL: the commands of docs/tls.md, and its client.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use w3bstream_tls::{ClientAuth, Error, ErrorKind, Peer, Tls, TlsSettings, self_signed};
use w3bstream_types::{Clock as _, SystemClock, Timestamp};

use crate::support::{DID, block_on};

/// The commands of the document, block by block.
fn blocks() -> Vec<String> {
    let document = std::fs::read_to_string("../../docs/tls.md").unwrap();
    let block = |part: &str| part.split_once("```").unwrap().0.to_owned();
    document.split("```sh\n").skip(1).map(block).collect()
}

fn run(folder: &std::path::Path, commands: &str) {
    let done = Command::new("sh").args(["-e", "-c", commands]).current_dir(folder).output().unwrap();
    assert!(done.status.success(), "{commands}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A handshake with `openssl s_client`.
async fn shake(tls: &Tls, folder: &std::path::Path, version: &str) -> Result<Peer, Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut client = Command::new("openssl")
        .args(["s_client", "-connect", &address, "-servername", "localhost", "-verify_return_error", version])
        .args([
            "-CAfile",
            "own.pem",
            "-cert",
            "pump-7.pem",
            "-key",
            "pump-7-key.pem",
            "-alpn",
            "mqtt",
            "-quiet",
        ])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    let accepted = tls.accept(socket).await;
    let _ = client.kill();
    client.wait().unwrap();
    accepted.map(|(_, peer)| peer)
}

#[test]
#[ignore = "needs OpenSSL: scripts/test-tls-openssl"]
fn the_commands_of_the_document_make_what_the_node_takes() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let [authority, device, list, revoke] = blocks().try_into().unwrap();
        [authority, device, list].iter().for_each(|commands| run(folder, commands));
        let now = SystemClock.now();
        let names = ["localhost".to_owned()];
        let own = self_signed(&names, Timestamp(now.millis() - 60_000), Timestamp(now.millis() + 86_400_000))
            .unwrap();
        std::fs::write(folder.join("own.pem"), own.certificate).unwrap();
        std::fs::write(folder.join("own-key.pem"), own.key).unwrap();
        let clients = ClientAuth {
            crl: Some(folder.join("devices.crl")),
            ..ClientAuth::required(folder.join("authority.pem"))
        };
        let settings = TlsSettings {
            clients: Some(clients),
            alpn: vec![b"mqtt".to_vec()],
            reload_every: Duration::ZERO,
            ..TlsSettings::new(folder.join("own.pem"), folder.join("own-key.pem"))
        };
        let tls = Tls::open(settings, Arc::new(SystemClock)).await.unwrap();
        for version in ["-tls1_2", "-tls1_3"] {
            let peer = shake(&tls, folder, version).await.unwrap();
            assert_eq!(peer.alpn.as_deref(), Some(&b"mqtt"[..]));
            assert!(peer.certificate.unwrap().names(&DID.parse().unwrap()));
        }
        let old = shake(&tls, folder, "-tls1_1").await.unwrap_err();
        assert_eq!(old.kind(), ErrorKind::Handshake, "{old}");
        run(folder, &revoke);
        for version in ["-tls1_2", "-tls1_3"] {
            let refused = shake(&tls, folder, version).await.unwrap_err();
            assert!(refused.to_string().contains("was revoked"), "{refused}");
        }
        println!("{:?}", tls.metrics());
    });
}
