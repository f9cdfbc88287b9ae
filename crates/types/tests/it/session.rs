//! Introductions and JWTs are read strictly, and their evidence is checked.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use proptest::prelude::*;
use serde_json::{Value, json};
use w3bstream_types::*;

use crate::sample;

fn device() -> SecretKey {
    sample::key(Algorithm::EdDSA, 2)
}

fn node() -> SecretKey {
    sample::key(Algorithm::EdDSA, 100)
}

fn did(key: &SecretKey) -> Did {
    Did::key(&key.public())
}

fn introduction(client: Option<&str>) -> IntroductionClaims {
    IntroductionClaims {
        audience: sample::project(),
        device: did(&device()),
        node: did(&node()),
        issued: 1_700_000_000,
        nonce: "n-1".into(),
        client: client.map(str::to_owned),
    }
}

/// Signs whatever is given.
fn sign(header: &Value, claims: &Value, key: &SecretKey) -> String {
    let input = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
    format!("{input}.{}", B64.encode(key.sign(input.as_bytes())))
}

fn header(typ: &str, key: &SecretKey) -> Value {
    json!({"alg": "EdDSA", "kid": did(key).default_key_id(), "typ": typ})
}

fn jwt_claims() -> Value {
    json!({
        "aud": sample::project(), "exp": 1_700_003_600_u64, "iat": 1_700_000_000_u64, "iss": did(&node()),
        "jti": "session-1", "sub": did(&device()),
    })
}

fn with(mut value: Value, name: &str, new: Value) -> Value {
    value[name] = new;
    value
}

#[test]
fn what_is_signed_is_read() {
    for algorithm in [Algorithm::EdDSA, Algorithm::ES256, Algorithm::ES256K] {
        for client in [None, Some("gateway 7"), Some("")] {
            let key = sample::key(algorithm, 2);
            let claims = IntroductionClaims { device: Did::jwk(&key.public()), ..introduction(client) };
            let text = claims.sign(&key);
            let read =
                if client.is_some() { Introduction::connect(&text) } else { Introduction::session(&text) };
            let read = read.unwrap();
            assert_eq!(read.claims(), &claims);
            read.verify(&key.public()).unwrap();
            assert!(read.verify(&sample::key(algorithm, 3).public()).is_err());
            assert!(!format!("{read:?}").contains(&text[..40]), "the text opens a session");
            // One is not the other.
            assert!(Introduction::session(&text).is_ok() != Introduction::connect(&text).is_ok());
            assert!(Jws::parse(&text).is_err() && SessionToken::parse(&text).is_err());
        }
    }
}

#[test]
fn introductions_are_strict() {
    let claims = json!({
        "aud": sample::project(), "iat": 1_700_000_000, "node": did(&node()), "nonce": "n", "sub": did(&device()),
    });
    let head = header(SESSION_TYPE, &device());
    Introduction::session(&sign(&head, &claims, &device())).unwrap();
    let refused = |head: &Value, claims: &Value, why: &str| {
        let error = Introduction::session(&sign(head, claims, &device())).unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
    };
    for alg in ["none", "HS256", "eddsa", "RS256"] {
        refused(&with(head.clone(), "alg", alg.into()), &claims, "algorithm");
    }
    // Embedded and remote keys, and what a reader would have to understand.
    for name in ["jwk", "jku", "x5c", "x5u", "crit", "b64", "zip"] {
        refused(&with(head.clone(), name, json!(["exp"])), &claims, "not understood");
    }
    for kid in ["../../keys/admin", "file:///etc/passwd#k", "did:key:z6Mk/../x#y", "", "0"] {
        refused(&with(head.clone(), "kid", kid.into()), &claims, "");
    }
    refused(
        &with(head.clone(), "kid", json!(did(&node()).default_key_id())),
        &claims,
        "kid must be a key of sub",
    );
    refused(&with(head.clone(), "typ", "JWT".into()), &claims, "typ must be w3b-session+jws");
    refused(&head, &with(claims.clone(), "client", "x".into()), "not understood");
    refused(&head, &with(claims.clone(), "exp", 1.into()), "not understood");
    refused(&head, &with(claims.clone(), "aud", json!([sample::project()])), "must be text");
    refused(&head, &with(claims.clone(), "iat", (-1).into()), "whole seconds");
    for nonce in ["", "a b", "ä", &"n".repeat(MAX_NONCE_BYTES + 1)] {
        refused(&head, &with(claims.clone(), "nonce", nonce.into()), "1 to 128 printable");
    }
    let longest = with(claims, "nonce", "n".repeat(MAX_NONCE_BYTES).into());
    Introduction::session(&sign(&head, &longest, &device())).unwrap();
    assert!(Introduction::session(&"e".repeat(MAX_SESSION_TEXT_BYTES + 1)).is_err());
}

#[test]
fn jwts_are_strict() {
    let head = header("JWT", &node());
    let members = [did(&node())];
    let good = SessionToken::parse(&sign(&head, &jwt_claims(), &node())).unwrap();
    good.verify(&members).unwrap();
    assert_eq!(good.claims(), sample::session_token().claims());
    let refused = |head: &Value, claims: &Value, why: &str| {
        let error = SessionToken::parse(&sign(head, claims, &node())).unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
    };
    refused(&with(head.clone(), "alg", "none".into()), &jwt_claims(), "algorithm");
    for name in ["jwk", "jku", "x5c", "crit"] {
        refused(&with(head.clone(), name, json!(["exp"])), &jwt_claims(), "not understood");
    }
    refused(&with(head.clone(), "kid", "../node".into()), &jwt_claims(), "key id");
    let other = json!(did(&device()).default_key_id());
    refused(&with(head.clone(), "kid", other), &jwt_claims(), "kid must be the key that iss is");
    refused(&head, &with(jwt_claims(), "nbf", 0.into()), "not understood");
    let from = 1_700_000_000;
    for exp in [0, from - 1, from, from + MAX_SESSION_SECONDS + 1] {
        refused(&head, &with(jwt_claims(), "exp", exp.into()), "at most a day");
    }
    refused(&head, &with(jwt_claims(), "exp", u64::MAX.into()), "out of range");
    for exp in [from + 1, from + MAX_SESSION_SECONDS] {
        SessionToken::parse(&sign(&head, &with(jwt_claims(), "exp", exp.into()), &node())).unwrap();
    }
    assert!(!format!("{good:?}").contains(&good.compact()[good.compact().len() - 20..]));
    assert!(SessionToken::looks_like(good.compact()) && !SessionToken::looks_like("w3b_0011.22.33"));
    // "none" with nothing behind the second dot.
    let unsigned = format!("{}.{}.", B64.encode(head.to_string()), B64.encode(jwt_claims().to_string()));
    assert!(SessionToken::parse(&unsigned).is_err());
}

#[test]
fn a_jwt_counts_by_a_members_signature_and_while_it_is_in_force() {
    let token = sample::session_token();
    let (ours, other) = (did(&node()), sample::owner());
    token.verify(&[other.clone(), ours.clone()]).unwrap();
    assert!(token.verify(&[other]).is_err() && token.verify(&[]).is_err());
    // Signed by somebody else in the member's name; and with the algorithm of another key.
    let head = header("JWT", &node());
    assert!(
        SessionToken::parse(&sign(&head, &jwt_claims(), &device()))
            .unwrap()
            .verify(std::slice::from_ref(&ours))
            .is_err()
    );
    let other = with(head, "alg", "ES256".into());
    assert!(SessionToken::parse(&sign(&other, &jwt_claims(), &node())).unwrap().verify(&[ours]).is_err());
    let (from, to) = (token.issued().0, token.expires().0);
    for (at, expected) in
        [(from - 60_001, false), (from - 60_000, true), (to - 1, true), (to, false), (0, false)]
    {
        assert_eq!(token.in_force(Timestamp(at)), expected, "{at}");
    }
}

#[test]
fn a_session_message_needs_its_device_project_and_time() {
    let token = sample::session_token();
    let submission = |event_id: &str| Submission::Session {
        token: token.compact().into(),
        event_id: event_id.into(),
        event_type: "temperature".parse().unwrap(),
        time: Timestamp::NONE,
        payload: vec![1],
    };
    let (members, at) = ([did(&node())], Timestamp(1_700_000_001_000));
    let check = |event_id: &str, project: ProjectId, device: &SecretKey, at: Timestamp| {
        Verified::by_session(submission(event_id), (project, &members, &did(device)), at)
    };
    let good = check("7", sample::project(), &device(), at).unwrap();
    assert_eq!(good.trust(), Trust::Session);
    assert_eq!(good.record().source(), SourceId::Device(did(&device())));
    assert_eq!((good.record().device(), good.record().of_device()), (None, Some(did(&device()))));
    assert!(check("7", ProjectId(Digest::ZERO), &device(), at).is_err());
    assert!(check("7", sample::project(), &node(), at).is_err());
    assert!(check("7", sample::project(), &device(), Timestamp(1_700_003_600_000)).is_err());
    for id in ["", "a b", &"x".repeat(129)] {
        assert!(check(id, sample::project(), &device(), at).is_err(), "{id:?}");
    }
    assert!(!format!("{:?}", submission("7")).contains(token.compact()));
    // A record of another device's session is none.
    let Form::Session(message) = good.record().form() else { unreachable!() };
    let stolen = SessionMessage { device: did(&node()), ..message.clone() };
    assert!(SessionMessage::from_canonical(&stolen.to_canonical()).is_err());
    assert!(Trust::Token < Trust::Session && Trust::Session < Trust::Observed);
    for trust in [Trust::Token, Trust::Session, Trust::Observed, Trust::Signature] {
        assert_eq!(Trust::of_number(trust.number()), Some(trust));
    }
    // The ids of a token's and of a session's events are apart, whatever the names are.
    let ids = [
        MessageId::of_session_event(&sample::project(), &did(&device()), "7"),
        MessageId::of_session_event(&sample::project(), &did(&node()), "7"),
        MessageId::of_token_event(&sample::project(), &"gateway-1".parse().unwrap(), "7"),
    ];
    assert!(ids[0] != ids[1] && ids[0] != ids[2]);
}

proptest! {
    #[test]
    fn text_never_panics(text in "(eyJ)?[A-Za-z0-9_.=-]{0,80}") {
        prop_assert!(Introduction::session(&text).is_err());
        prop_assert!(Introduction::connect(&text).is_err());
        prop_assert!(SessionToken::parse(&text).is_err());
    }

    /// Whatever is changed, nothing else than what was signed is taken.
    #[test]
    fn a_changed_jwt_does_not_verify(at in any::<usize>(), with in "[A-Za-z0-9_.-]") {
        let good = sample::session_token();
        let mut text = good.compact().to_owned();
        let at = at % text.len();
        text.replace_range(at..=at, &with);
        if let Ok(token) = SessionToken::parse(&text) {
            let verified = token.verify(std::slice::from_ref(&good.claims().node)).is_ok();
            prop_assert_eq!(verified, text == good.compact());
        }
    }

    #[test]
    fn any_json_never_panics(header in "[\\[\\]{}\":,a-z0-9\\\\. -]{0,60}", claims in ".{0,60}") {
        let text = format!("{}.{}.{}", B64.encode(header), B64.encode(claims), B64.encode([0; 64]));
        prop_assert!(SessionToken::parse(&text).is_err());
    }
}
