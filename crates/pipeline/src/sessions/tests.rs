use w3bstream_types::{Algorithm, IntroductionClaims, SecretKey};

use super::*;

const START: u64 = 1_700_000_000_000;

fn desk(max_nonces: usize) -> Desk {
    let options = SessionOptions { max_nonces, ..SessionOptions::new([7; 32]) };
    Desk::new(options, Timestamp(START))
}

fn project() -> ProjectId {
    ProjectId(Digest::of(b"project"))
}

fn introduction(n: u8, nonce: &str, issued: u64) -> Introduction {
    let key = SecretKey::from_bytes(Algorithm::EdDSA, &[n; 32]).unwrap();
    let device = Did::key(&key.public());
    let (node, nonce) = (device.clone(), nonce.to_owned());
    let claims = IntroductionClaims { audience: project(), device, node, issued, nonce, client: None };
    Introduction::session(&claims.sign(&key)).unwrap()
}

fn kind(result: Result<(), Refusal>) -> Option<RefusalKind> {
    result.err().map(|refusal| refusal.kind)
}

const NOW: Timestamp = Timestamp(START + 100_000);
const SECOND: u64 = NOW.0 / 1000;

#[test]
fn an_introduction_counts_once_for_as_long_as_it_is_fresh() {
    let desk = desk(100);
    let ahead = introduction(1, "n", SECOND + 60);
    assert_eq!(kind(desk.accept(&ahead, NOW)), None);
    assert_eq!(kind(desk.accept(&ahead, NOW)), Some(RefusalKind::Conflict));
    // The same nonce with another time is the same nonce; another device's is another one.
    assert_eq!(kind(desk.accept(&introduction(1, "n", SECOND), NOW)), Some(RefusalKind::Conflict));
    assert_eq!(kind(desk.accept(&introduction(2, "n", SECOND), NOW)), None);
    // To the last moment at which it is fresh it is known; then it is old.
    for later in [1, 60_000, 119_999, 120_000] {
        assert_eq!(
            kind(desk.accept(&ahead, Timestamp(NOW.0 + later))),
            Some(RefusalKind::Conflict),
            "{later}"
        );
    }
    assert_eq!(kind(desk.accept(&ahead, Timestamp(NOW.0 + 120_001))), Some(RefusalKind::BadSignature));
}

#[test]
fn the_clock_may_differ_by_a_minute_and_what_was_signed_before_the_start_is_not_taken() {
    let desk = desk(100);
    for (issued, fresh) in
        [(SECOND - 60, true), (SECOND - 61, false), (SECOND + 60, true), (SECOND + 61, false), (0, false)]
    {
        let result = desk.accept(&introduction(1, &issued.to_string(), issued), NOW);
        assert_eq!(kind(result).is_none(), fresh, "{issued}");
    }
    let early = Timestamp(START + 5000);
    assert_eq!(
        kind(desk.accept(&introduction(1, "a", START / 1000 - 1), early)),
        Some(RefusalKind::BadSignature)
    );
    assert_eq!(kind(desk.accept(&introduction(1, "b", START / 1000), early)), None);
}

#[test]
fn a_challenge_serves_once_for_its_project_and_this_run() {
    let desk = desk(100);
    let (nonce, end) = desk.challenge(project(), NOW);
    assert_eq!(
        kind(desk.accept(&introduction(1, &nonce, 0), Timestamp(end.0 + 1))),
        Some(RefusalKind::BadSignature)
    );
    assert_eq!(kind(desk.accept(&introduction(1, &nonce, 0), end)), None);
    assert_eq!(kind(desk.accept(&introduction(1, &nonce, 0), end)), Some(RefusalKind::Conflict));
    let (other, _) = desk.challenge(ProjectId(Digest::of(b"other")), NOW);
    assert_eq!(kind(desk.accept(&introduction(1, &other, 0), NOW)), Some(RefusalKind::BadSignature));
    let restarted = Desk::new(SessionOptions::new([8; 32]), NOW);
    let (second, _) = desk.challenge(project(), NOW);
    assert_ne!(second, nonce);
    assert_eq!(kind(restarted.accept(&introduction(1, &second, 0), NOW)), Some(RefusalKind::BadSignature));
    // Each of its digits counts.
    for at in 0..second.len() {
        let mut forged = second.clone().into_bytes();
        forged[at] = if forged[at] == b'0' { b'1' } else { b'0' };
        assert_eq!(desk.end_of(project(), &String::from_utf8(forged).unwrap()), None, "{at}");
    }
}

#[test]
fn one_device_fills_its_own_share_and_all_of_them_the_memory() {
    let desk = desk(40);
    for n in 0..PER_DEVICE {
        assert_eq!(kind(desk.accept(&introduction(1, &n.to_string(), SECOND), NOW)), None);
    }
    assert_eq!(kind(desk.accept(&introduction(1, "more", SECOND), NOW)), Some(RefusalKind::Overloaded));
    for n in 0..8 {
        assert_eq!(kind(desk.accept(&introduction(2, &n.to_string(), SECOND), NOW)), None);
    }
    assert_eq!(kind(desk.accept(&introduction(3, "n", SECOND), NOW)), Some(RefusalKind::Overloaded));
    // It is forgotten in time, and wholly.
    let later = Timestamp(NOW.0 + REMEMBER_MS);
    assert_eq!(kind(desk.accept(&introduction(3, "n", later.0 / 1000), later)), None);
    let nonces = desk.nonces.lock().unwrap();
    assert_eq!((nonces.queue.len(), nonces.used.len(), nonces.of_device.len()), (1, 1, 1));
}
