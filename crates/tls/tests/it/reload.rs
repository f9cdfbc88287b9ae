//! Files that change.

use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use w3bstream_tls::{ErrorKind, TlsSettings};

use crate::support::{Authority, ClientStream, DAY, House, NOW, Pair, bad, block_on, good};

fn shown(client: &ClientStream) -> CertificateDer<'static> {
    client.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

fn der(pair: &Pair) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()
}

#[test]
fn a_new_certificate_is_used_while_old_connections_live() {
    block_on(async {
        let house = House::new();
        let tls = house.open(house.settings()).await;
        let (mut before, mut served, _) = good(&tls, house.client(None)).await;
        let new = house.authority.server(NOW + 180 * DAY);
        house.put_server(&new);
        let (after, _server, _) = good(&tls, house.client(None)).await;
        assert_ne!(shown(&before), der(&new));
        assert_eq!(shown(&after), der(&new));
        assert_eq!((tls.generation(), tls.metrics().reloads), (1, 1));
        assert_eq!(tls.not_after().millis(), (NOW + 180 * DAY) * 1000);
        before.write_all(b"still here").await.unwrap();
        before.flush().await.unwrap();
        let mut heard = [0; 10];
        served.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"still here");
    });
}

#[test]
fn broken_files_leave_the_old_ones_in_use() {
    block_on(async {
        let house = House::new();
        let tls = house.open(house.settings()).await;
        let (first, _server, _) = good(&tls, house.client(None)).await;
        let old = shown(&first);
        let new = house.authority.server(NOW + 180 * DAY);
        // As whoever replaces two files one after the other leaves them for a moment.
        house.put("certificate.pem", &new.certificate);
        for _ in 0..3 {
            let (client, _server, _) = good(&tls, house.client(None)).await;
            assert_eq!(shown(&client), old);
        }
        assert_eq!((tls.generation(), tls.metrics().reloads_failed), (0, 1), "reported once");
        let why = tls.last_error().unwrap();
        assert!(why.contains("is not that of the first certificate"), "{why}");
        assert_eq!(tls.reload().await.unwrap_err().kind(), ErrorKind::Certificate);

        house.put("certificate.pem", "nonsense");
        let (client, _server, _) = good(&tls, house.client(None)).await;
        assert_eq!(shown(&client), old);
        assert_eq!(tls.metrics().reloads_failed, 2, "other broken contents are other trouble");

        std::fs::remove_file(house.path("key.pem")).unwrap();
        good(&tls, house.client(None)).await;
        assert!(tls.last_error().unwrap().contains("key.pem"), "{:?}", tls.last_error());

        house.put_server(&new);
        assert!(tls.reload().await.unwrap());
        let (client, _server, _) = good(&tls, house.client(None)).await;
        assert_eq!((shown(&client), tls.last_error()), (der(&new), None));
        assert!(!tls.reload().await.unwrap(), "nothing is new");
    });
}

#[test]
fn files_that_come_back_clear_the_error() {
    block_on(async {
        let house = House::new();
        let old = std::fs::read_to_string(house.path("key.pem")).unwrap();
        let tls = house.open(house.settings()).await;
        house.put("key.pem", "");
        tls.reload().await.unwrap_err();
        assert!(tls.last_error().is_some());
        house.put("key.pem", &old);
        assert!(!tls.reload().await.unwrap());
        assert_eq!(tls.last_error(), None);
    });
}

#[test]
fn a_new_revocation_list_counts_from_the_next_handshake() {
    block_on(async {
        let (house, devices) = (House::new(), Authority::new("Devices"));
        let mut settings = house.mutual(&devices);
        settings.clients.as_mut().unwrap().crl = Some(house.put("crl.pem", &devices.crl(&[], NOW + DAY)));
        let tls = house.open(settings).await;
        let device = devices.device(7);
        let (_client, _server, peer) = good(&tls, house.client(Some(&device))).await;
        house.put("crl.pem", &devices.crl(&[7], NOW + DAY));
        let refused = bad(&tls, house.client(Some(&device))).await;
        assert!(refused.to_string().contains("was revoked"), "{refused}");
        let gone = tls.recheck(&peer).unwrap_err();
        assert!(gone.to_string().contains("was revoked"), "a listener may end its connection too: {gone}");
    });
}

#[test]
fn files_are_not_looked_at_more_often_than_was_set() {
    block_on(async {
        let house = House::new();
        let settings = TlsSettings { reload_every: Duration::from_millis(400), ..house.settings() };
        let tls = house.open(settings).await;
        house.put_server(&house.authority.server(NOW + 180 * DAY));
        good(&tls, house.client(None)).await;
        assert_eq!(tls.generation(), 0, "too early");
        tokio::time::sleep(Duration::from_millis(450)).await;
        good(&tls, house.client(None)).await;
        assert_eq!(tls.generation(), 1);
    });
}
