//! For `w3bstream-fuzzing` alone: PEM files and peers' certificates from bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a broken promise must end the run; nothing but tests asks for this feature"
)]

use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use w3bstream_types::{ManualClock, Timestamp};

use crate::files::Files;
use crate::load::load;
use crate::peer::PeerCertificate;
use crate::{ClientAuth, TlsSettings};

/// The four files of a listener, of which the first byte says how they are cut out of the rest.
pub fn files(bytes: &[u8]) {
    let Some((how, rest)) = bytes.split_first() else { return };
    let parts: Vec<&[u8]> = match how % 2 {
        0 => vec![rest; 4],
        _ => rest.split(|b| *b == 0).collect(),
    };
    let part = |n: usize| parts.get(n).copied().unwrap_or_default();
    let mut settings = TlsSettings::new("certificate.pem", "key.pem");
    settings.clients =
        Some(ClientAuth { crl: Some("crl.pem".into()), ..ClientAuth::required("authorities.pem") });
    let clock: Arc<dyn w3bstream_types::Clock> = Arc::new(ManualClock::new(Timestamp(1_800_000_000_000)));
    let files = Files::of(part(0), part(1), part(2), part(3));
    match load(&files, &settings, &clock) {
        Ok(loaded) => drop(loaded.facts.warnings(&settings, clock.now())),
        Err(error) => {
            // Errors are shown to people, and keys are not.
            let shown = format!("{error} {error:?}");
            let long = |line: &&[u8]| line.len() > 30;
            let key = part(1).split(|b| *b == b'\n').filter(long).map(String::from_utf8_lossy);
            let quoted = key.filter(|line| !line.contains("-----") && shown.contains(&**line)).count();
            assert_eq!(quoted, 0, "an error repeats the key's file: {shown}");
        }
    }
    let _ = (files.chain(Path::new("a")), files.authorities(Path::new("b")), files.crl(Path::new("c")));
}

/// A certificate that a peer has shown, in DER.
pub fn peer(bytes: &[u8]) {
    let chain = [CertificateDer::from(bytes)];
    let Ok(peer) = PeerCertificate::read(&chain) else { return };
    assert!(peer.dids.iter().all(|did| peer.uris.iter().any(|uri| uri == did.as_str()) && peer.names(did)));
    assert!(peer.serial.bytes().all(|b| b.is_ascii_hexdigit()));
    assert!(!format!("{peer:?}").is_empty());
}
