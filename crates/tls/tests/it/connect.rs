//! This node as the client.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use w3bstream_tls::{ClientSettings, ErrorKind, Identity, TlsClient};
use w3bstream_types::Clock;

use crate::support::{Authority, House, block_on, pipe};

fn clock(house: &House) -> Arc<dyn Clock> {
    Arc::clone(&house.clock) as _
}

#[test]
fn a_client_shows_its_certificate_and_trusts_what_it_was_given() {
    block_on(async {
        let (house, devices) = (House::new(), Authority::new("Devices"));
        let tls = house.open(house.mutual(&devices)).await;
        let own = devices.device(3);
        let identity = Identity {
            certificate: house.put("own.pem", &own.certificate),
            key: house.put("own-key.pem", &own.key),
        };
        let authorities = Some(house.put("trusted.pem", &house.authority.pem()));
        let settings = ClientSettings { authorities, identity: Some(identity), ..ClientSettings::default() };
        let client = TlsClient::open(&settings, clock(&house)).await.unwrap();
        let (socket, server) = pipe().await;
        let (connected, accepted) = tokio::join!(client.connect("localhost", socket), tls.accept(server));
        let (mut connected, (mut accepted, peer)) = (connected.unwrap(), accepted.unwrap());
        assert!(peer.certificate.unwrap().serial.ends_with('3'));
        connected.write_all(b"hello").await.unwrap();
        connected.flush().await.unwrap();
        let mut heard = [0; 5];
        accepted.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");

        let (socket, server) = pipe().await;
        let (connected, _) = tokio::join!(client.connect("example.org", socket), tls.accept(server));
        assert_eq!(
            connected.unwrap_err().kind(),
            ErrorKind::Handshake,
            "another name than the certificate's"
        );

        let stranger = ClientSettings {
            authorities: Some(house.put("trusted.pem", &Authority::new("Others").pem())),
            ..ClientSettings::default()
        };
        let client = TlsClient::open(&stranger, clock(&house)).await.unwrap();
        let (socket, server) = pipe().await;
        let (connected, _) = tokio::join!(client.connect("localhost", socket), tls.accept(server));
        assert_eq!(connected.unwrap_err().kind(), ErrorKind::Handshake);
    });
}

#[test]
fn wrong_files_of_a_client_are_explained() {
    block_on(async {
        let (house, devices) = (House::new(), Authority::new("Devices"));
        let (one, other) = (devices.device(1), devices.device(2));
        let identity = Identity {
            certificate: house.put("own.pem", &one.certificate),
            key: house.put("own-key.pem", &other.key),
        };
        let trusted = house.put("trusted.pem", &house.authority.pem());
        let settings = ClientSettings {
            authorities: Some(trusted),
            identity: Some(identity),
            ..ClientSettings::default()
        };
        let error = TlsClient::open(&settings, clock(&house)).await.unwrap_err();
        assert!(error.to_string().contains("do not belong together"), "{error}");
        house.put("trusted.pem", "");
        let error = TlsClient::open(&settings, clock(&house)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authorities);
        assert!(error.to_string().contains("trusted.pem"), "{error}");
    });
}
