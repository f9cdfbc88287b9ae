//! Files and settings that are wrong, and what is said about them.

use w3bstream_tls::{ErrorKind, TlsSettings};

use crate::support::{Authority, DAY, House, NOW, block_on};

/// What is said when `file` holds `text`.
async fn said(house: &House, settings: TlsSettings, file: &str, text: &str) -> (ErrorKind, String) {
    house.put(file, text);
    let error = house.try_open(settings).await.expect_err("the file is wrong");
    assert!(error.to_string().contains(file), "names the file: {error}");
    (error.kind(), error.to_string())
}

#[test]
fn a_wrong_certificate_is_explained() {
    block_on(async {
        let house = House::new();
        for (text, wanted) in [
            ("", "it must hold the certificate"),
            ("-----BEGIN CERTIFICATE-----\nMIIB\n", "broken PEM"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read"),
            (&house.authority.server(NOW).certificate, "is not that of the first certificate"),
        ] {
            let (kind, why) = said(&house, house.settings(), "certificate.pem", text).await;
            assert_eq!(kind, ErrorKind::Certificate);
            assert!(why.contains(wanted), "{why}");
        }
    });
}

#[test]
fn a_wrong_key_is_explained_and_not_quoted() {
    block_on(async {
        let house = House::new();
        let key = std::fs::read_to_string(house.path("key.pem")).unwrap();
        let secret = key.lines().nth(1).unwrap();
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let broken = key.replace("-----END", "!!!---END");
        for (text, wanted) in [
            ("", "holds no private key"),
            (encrypted.as_str(), "openssl pkey"),
            (&broken, "broken PEM"),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot be used"),
        ] {
            let (kind, why) = said(&house, house.settings(), "key.pem", text).await;
            assert_eq!(kind, ErrorKind::Key);
            assert!(why.contains(wanted) && !why.contains(secret), "{why}");
        }
        std::fs::remove_file(house.path("key.pem")).unwrap();
        let missing = house.try_open(house.settings()).await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::File);
    });
}

#[test]
fn wrong_authorities_and_lists_are_explained() {
    block_on(async {
        let (house, devices) = (House::new(), Authority::new("Devices"));
        let mut settings = house.mutual(&devices);
        settings.clients.as_mut().unwrap().crl = Some(house.path("crl.pem"));
        for text in ["", &devices.pem(), "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"] {
            let (kind, why) = said(&house, settings.clone(), "crl.pem", text).await;
            assert_eq!(kind, ErrorKind::Crl, "{why}");
        }
        house.put("crl.pem", &devices.crl(&[], NOW + DAY));
        for text in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let (kind, why) = said(&house, settings.clone(), "authorities.pem", text).await;
            assert_eq!(kind, ErrorKind::Authorities, "{why}");
        }
    });
}

#[test]
fn a_file_beyond_the_limit_is_not_read() {
    block_on(async {
        let house = House::new();
        let certificate = std::fs::read(house.path("certificate.pem")).unwrap();
        let most = certificate.len() as u64;
        house.open(TlsSettings { max_file_bytes: most, ..house.settings() }).await;
        let error =
            house.try_open(TlsSettings { max_file_bytes: most - 1, ..house.settings() }).await.unwrap_err();
        assert!(error.to_string().contains("max_file_bytes"), "{error}");
    });
}

#[test]
fn a_wrong_setting_is_named() {
    block_on(async {
        let house = House::new();
        let wrong = [
            (
                "handshake_timeout",
                TlsSettings { handshake_timeout: std::time::Duration::ZERO, ..house.settings() },
            ),
            ("max_file_bytes", TlsSettings { max_file_bytes: 0, ..house.settings() }),
            ("alpn", TlsSettings { alpn: vec![vec![b'x'; 256]], ..house.settings() }),
            ("alpn", TlsSettings { alpn: vec![Vec::new()], ..house.settings() }),
        ];
        for (name, settings) in wrong {
            let error = house.try_open(settings).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(name), "{error}");
        }
    });
}

#[test]
fn what_an_operator_should_know_is_a_warning() {
    block_on(async {
        let house = House::new();
        let tls = house.open(house.settings()).await;
        assert_eq!(tls.warnings(), Vec::<String>::new());
        house.clock.advance(80 * DAY * 1000);
        assert!(tls.warnings()[0].contains("expires in 10 days"), "{:?}", tls.warnings());
        house.clock.advance(11 * DAY * 1000);
        assert!(tls.warnings()[0].contains("has expired"), "{:?}", tls.warnings());
        house.clock.set(w3bstream_types::Timestamp((NOW - 2 * DAY) * 1000));
        assert!(tls.warnings()[0].contains("not valid yet"), "{:?}", tls.warnings());
    });
}

#[cfg(unix)]
#[test]
fn a_key_that_others_may_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    block_on(async {
        let house = House::new();
        let open =
            |mode| std::fs::set_permissions(house.path("key.pem"), std::fs::Permissions::from_mode(mode));
        open(0o640).unwrap();
        let tls = house.open(house.settings()).await;
        assert_eq!(tls.warnings(), Vec::<String>::new(), "a group is how services share a key");
        open(0o644).unwrap();
        assert!(tls.reload().await.unwrap());
        assert!(tls.warnings()[0].contains("chmod"), "{:?}", tls.warnings());
    });
}
