//! Certificates of one's own.

use rustls_pki_types::ServerName;
use w3bstream_tls::{ErrorKind, self_signed};
use w3bstream_types::Timestamp;

use crate::support::{DAY, House, NOW, Pair, block_on, client, good};

fn secs(secs: u64) -> Timestamp {
    Timestamp(secs * 1000)
}

#[test]
fn a_client_that_takes_it_as_authority_connects() {
    block_on(async {
        let house = House::new();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let own = self_signed(&names, secs(NOW - DAY), secs(NOW + 800 * DAY)).unwrap();
        assert!(!format!("{own:?}").contains("PRIVATE KEY"), "{own:?}");
        house.put_server(&Pair { certificate: own.certificate.clone(), key: own.key });
        let tls = house.open(house.settings()).await;
        assert_eq!(tls.not_after(), secs(NOW + 800 * DAY));
        good(&tls, client(&own.certificate, None, rustls::ALL_VERSIONS)).await;

        let (socket, server) = crate::support::pipe().await;
        let config = std::sync::Arc::new(client(&own.certificate, None, rustls::ALL_VERSIONS));
        let address = ServerName::try_from("127.0.0.1").unwrap();
        let connector = tokio_rustls::TlsConnector::from(config);
        let (connected, accepted) = tokio::join!(connector.connect(address, socket), tls.accept(server));
        connected.unwrap();
        accepted.unwrap();
    });
}

#[test]
fn what_makes_no_certificate_is_refused() {
    let name = ["localhost".to_owned()];
    for (names, from, until) in [
        (&[][..], NOW, NOW + DAY),
        (&name[..], NOW, NOW),
        (&["käse".to_owned()][..], NOW, NOW + DAY),
        (&name[..], NOW, 300_000_000_000),
    ] {
        assert_eq!(
            self_signed(names, secs(from), secs(until)).unwrap_err().kind(),
            ErrorKind::Config,
            "{names:?}"
        );
    }
}
