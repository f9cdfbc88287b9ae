//! Who is let in.

use std::sync::Arc;

use rustls::{CertificateError, HandshakeKind};
use w3bstream_tls::{ClientAuth, ErrorKind, Peer, StaleCrl, TlsSettings};

use crate::support::{Authority, DAY, DID, House, NOW, Pair, bad, block_on, client, good, shake};

#[test]
fn both_versions_work_and_the_peer_is_told() {
    block_on(async {
        let house = House::new();
        let tls = house
            .open(TlsSettings { alpn: vec![b"h2".to_vec(), b"mqtt".to_vec()], ..house.settings() })
            .await;
        for version in rustls::ALL_VERSIONS {
            let mut config = client(&house.authority.pem(), None, &[version]);
            config.alpn_protocols = vec![b"mqtt".to_vec()];
            let (_client, server, peer) = good(&tls, config).await;
            assert_eq!(server.get_ref().1.protocol_version(), Some(version.version));
            let expected = Peer {
                server_name: Some("localhost".into()),
                alpn: Some(b"mqtt".to_vec()),
                certificate: None,
            };
            assert_eq!(peer, expected);
        }
        assert_eq!(tls.metrics().handshakes, 2);
        assert_eq!(tls.not_after().millis(), (NOW + 90 * DAY) * 1000);
    });
}

#[test]
fn a_device_is_named_by_its_did() {
    block_on(async {
        let (house, devices) = (House::new(), Authority::new("Devices"));
        let tls = house.open(house.mutual(&devices)).await;
        let (_client, _server, peer) = good(&tls, house.client(Some(&devices.device(0xbeef)))).await;
        let certificate = peer.certificate.unwrap();
        assert_eq!(certificate.uris, ["https://example.org/pump", DID]);
        assert_eq!(certificate.dids.iter().map(ToString::to_string).collect::<Vec<_>>(), [DID]);
        assert!(certificate.names(&DID.parse().unwrap()));
        assert!(!certificate.names(&"did:web:example.org".parse().unwrap()));
        assert_eq!(certificate.common_name.as_deref(), Some("Pump 7"));
        assert!(certificate.serial.ends_with("beef"), "{}", certificate.serial);
        assert_eq!(certificate.not_after.millis(), (NOW + 30 * DAY) * 1000);
    });
}

#[test]
fn who_shows_no_certificate_comes_in_only_where_none_is_required() {
    block_on(async {
        let (house, devices) = (House::new(), Authority::new("Devices"));
        let required = house.mutual(&devices);
        let tls = house.open(required.clone()).await;
        let refused = bad(&tls, house.client(None)).await;
        assert_eq!(refused.kind(), ErrorKind::Peer);
        assert!(refused.to_string().contains("has shown no certificate"), "{refused}");
        let clients = ClientAuth { required: false, ..required.clients.clone().unwrap() };
        let tls = house.open(TlsSettings { clients: Some(clients), ..required }).await;
        let (_client, _server, peer) = good(&tls, house.client(None)).await;
        assert_eq!(peer.certificate, None);
        let stranger = Authority::new("Strangers").device(1);
        assert_eq!(
            bad(&tls, house.client(Some(&stranger))).await.kind(),
            ErrorKind::Peer,
            "shown, it must be good"
        );
    });
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    block_on(async {
        let (house, devices) = (House::new(), Authority::new("Devices"));
        let tls = house.open(house.mutual(&devices)).await;
        // The same name, another key.
        let stranger = Authority::new("Devices").device(1);
        let refused = bad(&tls, house.client(Some(&stranger))).await;
        assert_eq!(refused.kind(), ErrorKind::Peer, "{refused}");
        let own = Authority::new("Strangers").device(1);
        let refused = bad(&tls, house.client(Some(&own))).await;
        assert!(refused.to_string().contains("none of the authorities"), "{refused}");
        assert_eq!(tls.metrics().peers_refused, 2);
    });
}

#[test]
fn a_certificate_is_refused_outside_its_time_and_rechecked() {
    block_on(async {
        let (house, devices) = (House::new(), Authority::new("Devices"));
        let tls = house.open(house.mutual(&devices)).await;
        let device = devices.device(1);
        let (_client, _server, peer) = good(&tls, house.client(Some(&device))).await;
        tls.recheck(&peer).unwrap();
        house.clock.advance(31 * DAY * 1000);
        let refused = bad(&tls, house.client(Some(&device))).await;
        assert!(refused.to_string().contains("has expired"), "{refused}");
        assert_eq!(tls.recheck(&peer).unwrap_err().kind(), ErrorKind::Peer);
        house.clock.set(w3bstream_types::Timestamp((NOW - 2 * DAY) * 1000));
        let refused = bad(&tls, house.client(Some(&device))).await;
        assert!(refused.to_string().contains("not valid yet"), "{refused}");
        let nobody = Peer { certificate: None, ..peer };
        assert_eq!(tls.recheck(&nobody).unwrap_err().kind(), ErrorKind::Peer);
    });
}

fn with_crl(house: &House, devices: &Authority, list: &str, stale_crl: StaleCrl) -> TlsSettings {
    let mut settings = house.mutual(devices);
    let clients = settings.clients.as_mut().unwrap();
    clients.crl = Some(house.put("devices.crl", list));
    clients.stale_crl = stale_crl;
    settings
}

#[test]
fn revoked_certificates_are_refused() {
    block_on(async {
        let (house, devices) = (House::new(), Authority::new("Devices"));
        let list = devices.crl(&[7], NOW + DAY);
        let tls = house.open(with_crl(&house, &devices, &list, StaleCrl::Refuse)).await;
        good(&tls, house.client(Some(&devices.device(6)))).await;
        let refused = bad(&tls, house.client(Some(&devices.device(7)))).await;
        assert_eq!(refused.kind(), ErrorKind::Peer);
        assert!(refused.to_string().contains("was revoked"), "{refused}");
    });
}

#[test]
fn a_list_of_another_authority_says_nothing() {
    block_on(async {
        let (house, devices) = (House::new(), Authority::new("Devices"));
        let list = Authority::new("Others").crl(&[], NOW + DAY);
        let tls = house.open(with_crl(&house, &devices, &list, StaleCrl::Refuse)).await;
        let refused = bad(&tls, house.client(Some(&devices.device(1)))).await;
        assert!(refused.to_string().contains("have none of the authority"), "{refused}");
        // One of the same name that somebody else has signed.
        let forged = Authority::new("Devices").crl(&[], NOW + DAY);
        let tls = house.open(with_crl(&house, &devices, &forged, StaleCrl::Refuse)).await;
        assert_eq!(bad(&tls, house.client(Some(&devices.device(1)))).await.kind(), ErrorKind::Peer);
    });
}

#[test]
fn a_stale_list_refuses_or_warns_as_was_set() {
    block_on(async {
        let (house, devices) = (House::new(), Authority::new("Devices"));
        let list = devices.crl(&[7], NOW + DAY);
        let strict = house.open(with_crl(&house, &devices, &list, StaleCrl::Refuse)).await;
        let lenient = house.open(with_crl(&house, &devices, &list, StaleCrl::Warn)).await;
        assert_eq!(strict.warnings(), Vec::<String>::new());
        house.clock.advance(2 * DAY * 1000);
        let refused = bad(&strict, house.client(Some(&devices.device(1)))).await;
        assert!(refused.to_string().contains("out of date"), "{refused}");
        assert!(strict.warnings()[0].contains("are refused"), "{:?}", strict.warnings());
        good(&lenient, house.client(Some(&devices.device(1)))).await;
        assert!(lenient.warnings()[0].contains("out of date"), "{:?}", lenient.warnings());
        let refused = bad(&lenient, house.client(Some(&devices.device(7)))).await;
        assert!(refused.to_string().contains("was revoked"), "stale, it still revokes: {refused}");
    });
}

#[test]
fn an_authority_in_between_can_be_revoked() {
    block_on(async {
        let (house, top) = (House::new(), Authority::new("Top"));
        let between = top.below("Between", 99);
        let device = between.device(1);
        let chain = Pair { certificate: device.certificate + &between.pem(), key: device.key };
        let below = between.crl(&[], NOW + DAY);
        let fine = top.crl(&[], NOW + DAY) + &below;
        let tls = house.open(with_crl(&house, &top, &fine, StaleCrl::Refuse)).await;
        good(&tls, house.client(Some(&chain))).await;
        house.put("devices.crl", &(top.crl(&[99], NOW + DAY) + &below));
        let refused = bad(&tls, house.client(Some(&chain))).await;
        assert!(refused.to_string().contains("was revoked"), "{refused}");
    });
}

#[test]
fn sessions_are_resumed_only_where_no_certificates_are_shown() {
    block_on(async {
        let (house, devices) = (House::new(), Authority::new("Devices"));
        let device = devices.device(1);
        let kinds = |settings: TlsSettings| {
            let (house, device) = (&house, &device);
            async move {
                let tls = house.open(settings).await;
                let mut kinds = Vec::new();
                for version in rustls::ALL_VERSIONS {
                    let config = Arc::new(client(&house.authority.pem(), Some(device), &[version]));
                    for _ in 0..2 {
                        let (client, server) = shake(&tls, &config).await;
                        let (server, peer) = server.unwrap();
                        kinds.push((
                            client.unwrap().get_ref().1.handshake_kind().unwrap(),
                            peer.certificate.is_some(),
                        ));
                        drop(server);
                    }
                }
                kinds
            }
        };
        let open = kinds(house.settings()).await;
        let resumed = open.iter().filter(|(kind, _)| *kind == HandshakeKind::Resumed).count();
        assert_eq!(resumed, 2, "the client does resume: {open:?}");
        assert_eq!(kinds(house.mutual(&devices)).await, [(HandshakeKind::Full, true); 4]);
    });
}

#[test]
fn a_client_that_does_not_trust_the_listener_is_told_apart() {
    block_on(async {
        let house = House::new();
        let tls = house.open(house.settings()).await;
        let stranger = Authority::new("Another").pem();
        let (failed, server) = shake(&tls, &Arc::new(client(&stranger, None, rustls::ALL_VERSIONS))).await;
        let failed = failed.unwrap_err();
        let why = failed.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
        assert_eq!(why, Some(&rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)));
        let server = server.unwrap_err();
        assert_eq!(server.kind(), ErrorKind::Handshake);
        assert!(server.to_string().contains("does not trust this certificate"), "{server}");
        assert_eq!(tls.metrics().failed, 1);
    });
}

#[test]
fn a_client_that_offers_only_other_protocols_is_refused() {
    block_on(async {
        let house = House::new();
        let tls = house.open(TlsSettings { alpn: vec![b"mqtt".to_vec()], ..house.settings() }).await;
        let mut config = house.client(None);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let refused = bad(&tls, config).await;
        assert!(refused.to_string().contains("none of the protocols"), "{refused}");
        let (_client, _server, peer) = good(&tls, house.client(None)).await;
        assert_eq!(peer.alpn, None, "who offers none is not refused");
    });
}
