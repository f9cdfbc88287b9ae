use std::sync::Arc;

use proptest::prelude::*;
use w3bstream_types::{
    AckMode, Algorithm, BlockRules, Canonical, DeviceRegistration, Draft, Envelope, Form, Jws, Manifest,
    ProjectId, ProjectName, SecretKey, Sequence, SessionClaims, SessionMessage, TokenMessage,
    TokenRegistration, Trust,
};

use super::*;
use crate::MemoryRegistry;

const TOKEN: &str = "w3b-secret-token";

fn key(algorithm: Algorithm, n: u8) -> SecretKey {
    SecretKey::from_bytes(algorithm, &[n; 32]).unwrap()
}

fn manifest(name: &str) -> Manifest {
    Manifest {
        name: name.parse().unwrap(),
        owner: Did::key(&key(Algorithm::EdDSA, 99).public()),
        version: 1,
        ack: AckMode::Durable,
        max_payload_bytes: 64,
        allow_tokens: true,
        allow_sessions: true,
        blocks: BlockRules::default(),
        env: vec![],
        applets: vec![],
        settlements: vec![],
        chains: vec![],
        triggers: vec![],
        database: None,
    }
}

/// A registry with a project `cold`, one device per algorithm that may send `temperature` and `humidity`,
/// and one publisher.
struct Bench {
    registry: Arc<MemoryRegistry>,
    project: ProjectId,
    device: SecretKey,
    did: Did,
}

impl Bench {
    fn new(algorithm: Algorithm) -> Self {
        let registry = Arc::new(MemoryRegistry::new());
        let project = registry.set_project(manifest("cold"));
        let device = key(algorithm, 7);
        let did = Did::key(&device.public());
        let bench = Self { registry, project, device, did };
        bench.register(&["temperature", "humidity"]);
        let token = TokenRegistration {
            publisher: "gateway".parse().unwrap(),
            token_hash: token_hash(TOKEN),
            event_types: vec!["temperature".parse().unwrap()],
        };
        bench.registry.register_token(project, token);
        bench
    }

    fn register(&self, event_types: &[&str]) {
        let registration = DeviceRegistration {
            device: self.did.clone(),
            key: self.device.public(),
            event_types: event_types.iter().map(|t| t.parse().unwrap()).collect(),
        };
        self.registry.register_device(self.project, registration);
    }

    fn draft(&self) -> Draft {
        Draft {
            audience: self.project,
            key: self.did.default_key_id(),
            event_type: "temperature".parse().unwrap(),
            sequence: Sequence::new(3, 5),
            time: Timestamp(1_700_000_000_000),
            payload: b"21.5".to_vec(),
        }
    }

    fn envelope(&self, draft: Draft) -> Form {
        Form::Envelope(draft.sign_envelope([9; 16], &self.device))
    }

    fn jws(&self, draft: Draft) -> Form {
        Form::Jws(Jws::parse(&draft.sign_jws(&self.device)).unwrap())
    }

    fn admit(&self, form: Form) -> Result<Verified, Refusal> {
        self.submit("cold", Submission::Signed(Record::new(form)))
    }

    fn submit(&self, project: &str, submission: Submission) -> Result<Verified, Refusal> {
        let received = Received { project: project.parse().unwrap(), submission, received_at: Timestamp(42) };
        admit(received, &*self.registry, &AdmitLimits::default())
    }

    /// Both signed forms of a draft are refused for the same reason.
    fn refused(&self, draft: &Draft) -> Refusal {
        let envelope = self.admit(self.envelope(draft.clone())).expect_err("the envelope is admitted");
        let jws = self.admit(self.jws(draft.clone())).expect_err("the JWS is admitted");
        assert_eq!(envelope, jws, "the two forms are judged differently");
        envelope
    }
}

fn token_submission(token: &str, event_type: &str) -> Submission {
    Submission::Token {
        token: token.into(),
        event_id: "event-1".into(),
        event_type: event_type.parse().unwrap(),
        time: Timestamp::NONE,
        payload: b"21.5".to_vec(),
    }
}

#[test]
fn admits_every_algorithm_in_both_signed_forms() {
    for algorithm in [Algorithm::EdDSA, Algorithm::ES256, Algorithm::ES256K] {
        let bench = Bench::new(algorithm);
        for form in [bench.envelope(bench.draft()), bench.jws(bench.draft())] {
            let verified = bench.admit(form.clone()).unwrap();
            assert_eq!(verified.record().form(), &form);
            assert_eq!((verified.trust(), verified.received_at()), (Trust::Signature, Timestamp(42)));
        }
    }
}

#[test]
fn admits_a_token_with_the_publisher_that_is_registered() {
    let bench = Bench::new(Algorithm::EdDSA);
    let verified = bench.submit("cold", token_submission(TOKEN, "temperature")).unwrap();
    assert_eq!(verified.trust(), Trust::Token);
    assert_eq!(verified.record().source().to_string(), "publisher:gateway");
    assert_eq!(verified.record().project(), bench.project);
}

#[test]
fn refuses_an_unknown_project_before_it_looks_at_anything_else() {
    let bench = Bench::new(Algorithm::EdDSA);
    let record = Record::new(bench.envelope(bench.draft()));
    let refusal = bench.submit("warm", Submission::Signed(record)).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::UnknownProject);
    assert!(refusal.detail.contains("no project warm"), "{refusal}");
    bench.registry.remove_project(bench.project);
    assert_eq!(bench.refused(&bench.draft()).kind, RefusalKind::UnknownProject);
}

#[test]
fn refuses_a_message_for_another_project() {
    let bench = Bench::new(Algorithm::EdDSA);
    let other = bench.registry.set_project(manifest("other"));
    let refusal = bench.refused(&Draft { audience: other, ..bench.draft() });
    assert_eq!(refusal.kind, RefusalKind::WrongAudience);
    assert!(refusal.detail.contains(&bench.project.to_string()), "says the right audience: {refusal}");
}

#[test]
fn the_smaller_payload_limit_counts_to_the_byte() {
    let bench = Bench::new(Algorithm::EdDSA);
    let draft = |len| Draft { payload: vec![0; len], ..bench.draft() };
    bench.admit(bench.envelope(draft(64))).unwrap();
    let refusal = bench.refused(&draft(65));
    assert_eq!(refusal.kind, RefusalKind::TooLarge);
    assert!(refusal.detail.contains("project's limit is 64"), "{refusal}");
    let submission = Submission::Signed(Record::new(bench.envelope(draft(64))));
    let received = Received { project: "cold".parse().unwrap(), submission, received_at: Timestamp(1) };
    let limits = AdmitLimits { max_payload_bytes: 63 };
    let refusal = admit(received, &*bench.registry, &limits).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::TooLarge);
    assert!(refusal.detail.contains("node's limit is 63"), "{refusal}");
    let mut big = token_submission(TOKEN, "temperature");
    if let Submission::Token { payload, .. } = &mut big {
        *payload = vec![0; 65];
    }
    assert_eq!(bench.submit("cold", big).unwrap_err().kind, RefusalKind::TooLarge);
}

#[test]
fn refuses_a_device_that_is_unknown_or_revoked() {
    let mut bench = Bench::new(Algorithm::ES256);
    let known = (bench.device.clone(), bench.did.clone());
    bench.device = key(Algorithm::ES256, 8);
    bench.did = Did::key(&bench.device.public());
    let refusal = bench.refused(&bench.draft());
    assert_eq!(refusal.kind, RefusalKind::UnknownDevice);
    assert!(refusal.detail.contains("device add --project cold"), "{refusal}");
    (bench.device, bench.did) = known;
    bench.registry.revoke_device(bench.project, &bench.did);
    bench.register(&[]);
    assert_eq!(bench.refused(&bench.draft()).kind, RefusalKind::Revoked, "re-registering revives nothing");
}

#[test]
fn the_registration_limits_the_event_types() {
    let bench = Bench::new(Algorithm::EdDSA);
    let draft = Draft { event_type: "door".parse().unwrap(), ..bench.draft() };
    let refusal = bench.refused(&draft);
    assert_eq!(refusal.kind, RefusalKind::NotAllowed);
    assert!(refusal.detail.ends_with("may not send door, only temperature, humidity"), "{refusal}");
    bench.register(&[]);
    bench.admit(bench.jws(draft)).expect("no list means all types");
}

#[test]
fn refuses_a_key_id_that_the_did_does_not_have() {
    let bench = Bench::new(Algorithm::EdDSA);
    let draft = Draft { key: format!("{}#key-2", bench.did).parse().unwrap(), ..bench.draft() };
    let refusal = bench.refused(&draft);
    assert_eq!(refusal.kind, RefusalKind::BadSignature);
    assert!(refusal.detail.contains(bench.did.default_key_id().as_str()), "{refusal}");
}

#[test]
fn a_did_of_another_method_is_verified_with_the_pinned_key() {
    let mut bench = Bench::new(Algorithm::ES256K);
    bench.did = "did:web:sensors.example:7".parse().unwrap();
    bench.register(&[]);
    bench.admit(bench.envelope(bench.draft())).unwrap();
    bench.device = key(Algorithm::ES256K, 8);
    assert_eq!(bench.refused(&bench.draft()).kind, RefusalKind::BadSignature);
}

#[test]
fn the_registered_key_counts_and_not_the_one_inside_the_did() {
    let bench = Bench::new(Algorithm::EdDSA);
    let pinned = DeviceRegistration {
        device: bench.did.clone(),
        key: key(Algorithm::EdDSA, 8).public(),
        event_types: vec![],
    };
    bench.registry.register_device(bench.project, pinned);
    assert_eq!(bench.refused(&bench.draft()).kind, RefusalKind::BadSignature);
}

#[test]
fn refuses_a_changed_payload_signature_or_algorithm() {
    let bench = Bench::new(Algorithm::EdDSA);
    let good = bench.draft().sign_envelope([9; 16], &bench.device);
    let mut signature = *good.signature();
    signature[40] ^= 1;
    let wrong_signature = Envelope::new(bench.draft(), [9; 16], signature);
    let wrong_salt = Envelope::new(bench.draft(), [8; 16], *good.signature());
    let draft = Draft { payload: b"99.9".to_vec(), ..bench.draft() };
    let wrong_payload = Envelope::new(draft, [9; 16], *good.signature());
    for envelope in [wrong_signature, wrong_salt, wrong_payload] {
        let refusal = bench.admit(Form::Envelope(envelope)).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::BadSignature);
        assert!(refusal.detail.contains("registered for did:key:"), "{refusal}");
    }
    let other = bench.draft().sign_jws(&key(Algorithm::ES256, 7));
    let refusal = bench.admit(Form::Jws(Jws::parse(&other).unwrap())).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::BadSignature);
    assert!(refusal.detail.contains("says ES256, the registered key is EdDSA"), "{refusal}");
}

#[test]
fn the_window_refuses_what_is_too_old_and_leaves_what_was_seen_to_storage() {
    let bench = Bench::new(Algorithm::EdDSA);
    let accept = |s| bench.registry.accept(bench.project, &bench.did, s).unwrap();
    assert_eq!(accept(Sequence::new(3, 5)), WindowVerdict::New);
    bench.admit(bench.envelope(bench.draft())).expect("seen: storage answers");
    let old = Draft { sequence: Sequence::new(2, 900), ..bench.draft() };
    let refusal = bench.refused(&old);
    assert_eq!((refusal.kind, refusal.next_epoch), (RefusalKind::TooOld, Some(4)));
    assert!(refusal.detail.contains("start epoch 4"), "{refusal}");
    accept(Sequence::new(3, 5000));
    assert_eq!(bench.refused(&bench.draft()).kind, RefusalKind::TooOld);
}

#[test]
fn a_forged_message_is_told_nothing_of_the_window() {
    let bench = Bench::new(Algorithm::EdDSA);
    bench.registry.accept(bench.project, &bench.did, Sequence::new(9, 0)).unwrap();
    let forged = Envelope::new(bench.draft(), [0; 16], [1; 64]);
    let refusal = bench.admit(Form::Envelope(forged)).unwrap_err();
    assert_eq!((refusal.kind, refusal.next_epoch), (RefusalKind::BadSignature, None));
}

#[test]
fn a_token_is_refused_where_it_is_not_allowed_known_or_enough() {
    let bench = Bench::new(Algorithm::EdDSA);
    let refusal = bench.submit("cold", token_submission("guess", "temperature")).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::BadToken);
    assert!(!refusal.to_string().contains("guess"), "the token is not repeated: {refusal}");
    let refusal = bench.submit("cold", token_submission(TOKEN, "door")).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::NotAllowed);
    assert!(refusal.detail.starts_with("publisher gateway may not send door"), "{refusal}");
    bench.registry.revoke_token(bench.project, &"gateway".parse().unwrap());
    let refusal = bench.submit("cold", token_submission(TOKEN, "temperature")).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::BadToken);
    bench.registry.set_project(Manifest { allow_tokens: false, ..manifest("cold") });
    let refusal = bench.submit("cold", token_submission(TOKEN, "temperature")).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::NotAllowed);
    assert!(refusal.detail.contains("allow-tokens = true"), "{refusal}");
}

const SESSION_AT: Timestamp = Timestamp(1_700_000_001_000);

fn node() -> SecretKey {
    key(Algorithm::EdDSA, 50)
}

impl Bench {
    fn jwt(&self, signer: &SecretKey) -> String {
        self.registry.set_members(self.project, &[Did::key(&node().public())]);
        let claims = SessionClaims {
            audience: self.project,
            device: self.did.clone(),
            node: Did::key(&node().public()),
            issued: 1_700_000_000,
            expires: 1_700_003_600,
            id: "s".into(),
        };
        let input = claims.signing_input().unwrap();
        SessionToken::assemble(&input, &signer.sign(input.as_bytes())).unwrap().compact().to_owned()
    }

    fn in_session(&self, jwt: &str, event_type: &str, at: Timestamp) -> Result<Verified, Refusal> {
        let submission = Submission::Session {
            token: jwt.into(),
            event_id: "event-1".into(),
            event_type: event_type.parse().unwrap(),
            time: Timestamp::NONE,
            payload: b"21.5".to_vec(),
        };
        let received = Received { project: "cold".parse().unwrap(), submission, received_at: at };
        admit(received, &*self.registry, &AdmitLimits::default())
    }
}

#[test]
fn a_session_is_admitted_for_devices_of_every_algorithm() {
    for algorithm in [Algorithm::EdDSA, Algorithm::ES256, Algorithm::ES256K] {
        let bench = Bench::new(algorithm);
        let verified = bench.in_session(&bench.jwt(&node()), "temperature", SESSION_AT).unwrap();
        assert_eq!(verified.trust(), Trust::Session);
        assert_eq!(verified.record().of_device(), Some(bench.did.clone()));
    }
}

#[test]
fn a_session_is_refused_where_it_is_not_allowed_signed_in_force_or_enough() {
    let bench = Bench::new(Algorithm::EdDSA);
    let jwt = bench.jwt(&node());
    let kind = |jwt: &str, event_type: &str, at: Timestamp| {
        let refusal = bench.in_session(jwt, event_type, at).unwrap_err();
        assert!(!refusal.to_string().contains(jwt), "the JWT is not repeated: {refusal}");
        assert!(refusal.kind.is_permanent());
        refusal.kind
    };
    assert_eq!(kind(&jwt, "door", SESSION_AT), RefusalKind::NotAllowed);
    assert_eq!(kind("eyJh.eyJh.AAAA", "temperature", SESSION_AT), RefusalKind::BadToken);
    assert_eq!(kind(&bench.jwt(&bench.device), "temperature", SESSION_AT), RefusalKind::BadToken);
    for at in [Timestamp(1_700_003_600_000), Timestamp(1_699_999_939_999), Timestamp(0)] {
        assert_eq!(kind(&jwt, "temperature", at), RefusalKind::BadToken, "{at}");
    }
    // The node left the subnet; the device was revoked; the project changed its mind.
    bench.registry.set_members(bench.project, std::slice::from_ref(&bench.did));
    assert_eq!(kind(&jwt, "temperature", SESSION_AT), RefusalKind::BadToken);
    let jwt = bench.jwt(&node());
    bench.registry.revoke_device(bench.project, &bench.did);
    assert_eq!(kind(&jwt, "temperature", SESSION_AT), RefusalKind::Revoked);
    bench.registry.set_project(Manifest { allow_sessions: false, ..manifest("cold") });
    let refusal = bench.in_session(&jwt, "temperature", SESSION_AT).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::NotAllowed);
    assert!(refusal.detail.contains("allow-sessions = true"), "{refusal}");
    let other = Bench::new(Algorithm::EdDSA);
    let stranger = Bench { did: Did::key(&key(Algorithm::EdDSA, 9).public()), ..other };
    let jwt = stranger.jwt(&node());
    assert_eq!(
        stranger.in_session(&jwt, "temperature", SESSION_AT).unwrap_err().kind,
        RefusalKind::UnknownDevice
    );
}

#[test]
fn a_session_of_one_project_is_none_in_another() {
    let bench = Bench::new(Algorithm::EdDSA);
    let jwt = bench.jwt(&node());
    bench.registry.set_project(manifest("other"));
    let submission = Submission::Session {
        token: jwt,
        event_id: "e".into(),
        event_type: "temperature".parse().unwrap(),
        time: Timestamp::NONE,
        payload: vec![],
    };
    assert_eq!(bench.submit("other", submission).unwrap_err().kind, RefusalKind::WrongAudience);
}

#[test]
fn a_token_of_one_project_is_none_in_another() {
    let bench = Bench::new(Algorithm::EdDSA);
    bench.registry.set_project(manifest("other"));
    let refusal = bench.submit("other", token_submission(TOKEN, "temperature")).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::BadToken);
}

#[test]
fn a_bad_event_id_and_a_record_without_signature_are_malformed() {
    let bench = Bench::new(Algorithm::EdDSA);
    let mut bad = token_submission(TOKEN, "temperature");
    if let Submission::Token { event_id, .. } = &mut bad {
        *event_id = "with blank".into();
    }
    let refusal = bench.submit("cold", bad).unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Malformed);
    assert!(refusal.detail.starts_with("the event id must be 1 to 128"), "{refusal}");
    // What storage keeps of a token message must not be taken for a signed one.
    let smuggled = Form::Token(TokenMessage {
        project: bench.project,
        publisher: "gateway".parse().unwrap(),
        event_id: "event-1".into(),
        event_type: "temperature".parse().unwrap(),
        time: Timestamp::NONE,
        payload: vec![],
        token_hash: token_hash(TOKEN),
    });
    assert_eq!(bench.admit(smuggled).unwrap_err().kind, RefusalKind::Malformed);
    let smuggled = Form::Session(SessionMessage {
        project: bench.project,
        device: bench.did.clone(),
        event_id: "event-1".into(),
        event_type: "temperature".parse().unwrap(),
        time: Timestamp::NONE,
        payload: vec![],
        token: SessionToken::parse(&bench.jwt(&node())).unwrap(),
    });
    assert_eq!(bench.admit(smuggled).unwrap_err().kind, RefusalKind::Malformed);
}

#[test]
fn every_refusal_is_permanent() {
    // A transient kind would make a device send the same bad bytes for ever.
    let bench = Bench::new(Algorithm::EdDSA);
    let drafts = [
        Draft { payload: vec![0; 65], ..bench.draft() },
        Draft { event_type: "door".parse().unwrap(), ..bench.draft() },
        Draft { audience: ProjectId(w3bstream_types::Digest::ZERO), ..bench.draft() },
    ];
    for draft in drafts {
        assert!(bench.refused(&draft).kind.is_permanent());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever parses as a record is judged without a panic, and only the untouched bytes are admitted.
    #[test]
    fn admitting_never_panics(
        at in 0_usize..400,
        xor in 0_u8..,
        jws in any::<bool>(),
        project in "[a-z]{1,5}|cold",
        token in "\\PC{0,20}",
        event_id in "\\PC{0,20}",
    ) {
        let bench = Bench::new(Algorithm::EdDSA);
        let form = if jws { bench.jws(bench.draft()) } else { bench.envelope(bench.draft()) };
        let mut bytes = Record::new(form).to_canonical();
        let at = at % bytes.len();
        bytes[at] ^= xor;
        if let Ok(record) = Record::from_canonical(&bytes) {
            let admitted = bench.submit("cold", Submission::Signed(record)).is_ok();
            prop_assert_eq!(admitted, xor == 0, "byte {} changed by {}", at, xor);
        }
        let name: ProjectName = project.parse().unwrap();
        let submission = Submission::Token {
            token, event_id, event_type: "temperature".parse().unwrap(), time: Timestamp(at as u64),
            payload: bytes[..at % 70].to_vec(),
        };
        let refused = bench.submit(name.as_str(), submission).is_err();
        prop_assert!(refused, "a guessed token is admitted");
    }
}
