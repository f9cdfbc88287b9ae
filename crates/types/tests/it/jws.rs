//! The JWS form is read strictly: what is not understood is refused.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD as B64};
use proptest::prelude::*;
use w3bstream_types::*;

use crate::sample;

fn key() -> SecretKey {
    sample::key(Algorithm::EdDSA, 2)
}

fn header() -> String {
    let kid = Did::key(&key().public()).default_key_id();
    format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"w3b+jws"}}"#)
}

fn claims() -> String {
    let aud = sample::project();
    format!(r#"{{"aud":"{aud}","data":"eA","iat":1700000000,"seq":"4294967297","type":"temperature"}}"#)
}

fn sign(header: &str, claims: &str) -> String {
    let input = format!("{}.{}", B64.encode(header), B64.encode(claims));
    format!("{input}.{}", B64.encode(key().sign(input.as_bytes())))
}

fn refused(header: &str, claims: &str, why: &str) {
    let error = Jws::parse(&sign(header, claims)).unwrap_err().to_string();
    assert!(error.contains(why), "{header} {claims}: {error}");
}

#[test]
fn a_good_one_is_read() {
    let jws = Jws::parse(&sign(&header(), &claims())).unwrap();
    assert_eq!(jws.header().time, Timestamp(1_700_000_000_000));
    assert_eq!(jws.header().sequence, Sequence::new(1, 1));
    assert_eq!(jws.payload(), b"x");
    jws.verify(&key().public()).unwrap();
    // The order of the members and blanks between them are the device's affair: the text is what is signed.
    let spaced = claims().replace(',', ", ").replace(':', " : ");
    let other = Jws::parse(&sign(&header(), &spaced)).unwrap();
    assert_eq!(other.header(), jws.header());
}

#[test]
fn headers_are_strict() {
    let with = |from: &str, to: &str| header().replace(from, to);
    refused(&with("EdDSA", "none"), &claims(), "not EdDSA, ES256 or ES256K");
    refused(&with("EdDSA", "HS256"), &claims(), "not EdDSA, ES256 or ES256K");
    refused(&with("EdDSA", "eddsa"), &claims(), "not EdDSA, ES256 or ES256K");
    refused(&with(r#""alg":"EdDSA","#, ""), &claims(), r#"no "alg""#);
    refused(&with(r#""EdDSA""#, "1"), &claims(), "must be text");
    refused(&with(r#"{"#, r#"{"crit":["exp"],"#), &claims(), "\"crit\", which is not understood");
    refused(&with(r#"{"#, r#"{"jwk":{},"#), &claims(), "\"jwk\", which is not understood");
    refused(&with(r#"{"#, r#"{"b64":false,"#), &claims(), "\"b64\", which is not understood");
    refused(&with(r#"{"#, r#"{"alg":"ES256","#), &claims(), "stands twice");
    refused(&with("w3b+jws", "JWT"), &claims(), "typ must be");
    refused(&with(r#","typ":"w3b+jws""#, ""), &claims(), "no \"typ\"");
    refused(&with("#", "?"), &claims(), "key id");
    refused("[]", &claims(), "no JSON object");
    refused("", &claims(), "no JSON object");
    refused(&format!("{}x", header()), &claims(), "no JSON object");
    refused(&"[".repeat(200_000), &claims(), "no JSON object");
    refused(&with("\"kid\":", &format!("\"kid\":{}", "[".repeat(100_000))), &claims(), "no JSON object");
}

#[test]
fn claims_are_strict() {
    let with = |from: &str, to: &str| claims().replace(from, to);
    for name in ["aud", "data", "iat", "seq", "type"] {
        refused(
            &header(),
            &with(&format!("\"{name}\":"), &format!("\"x{name}\":")),
            &format!("no \"{name}\""),
        );
    }
    refused(&header(), &with(r#"{"#, r#"{"exp":1,"#), "\"exp\", which is not understood");
    refused(&header(), &with(r#"{"#, r#"{"seq":"1","#), "stands twice");
    // The same name spelt with an escape.
    refused(&header(), &with(r#"{"#, r#"{"\u0073eq":"1","#), "stands twice");
    for bad in ["1.5", "-1", "\"1\"", "null", "1e3", "1700000000.0"] {
        refused(&header(), &with("1700000000", bad), "whole seconds");
    }
    refused(&header(), &with("1700000000", "18446744073709551615"), "out of range");
    for bad in ["4294967297.0", "01", "-1", "+1", " 1", "", "18446744073709551616"] {
        refused(&header(), &with("4294967297", bad), "sequence");
    }
    refused(&header(), &with("\"4294967297\"", "4294967297"), "must be text");
    refused(&header(), &with("\"eA\"", "\"eA==\""), "base64url");
    refused(&header(), &with("\"eA\"", "\"eB\""), "base64url");
    refused(&header(), &with("\"eA\"", "\"+/\""), "base64url");
    refused(&header(), &with("temperature", "Temperature"), "event type");
    refused(&header(), &with("\"aud\":\"", "\"aud\":\"0"), "digest");
}

#[test]
fn the_compact_form_is_strict() {
    let good = sign(&header(), &claims());
    let (input, signature) = good.rsplit_once('.').unwrap();
    let raw = B64.decode(signature).unwrap();
    let bad = [
        input.to_owned(),
        format!("{good}."),
        format!("{good}.{signature}"),
        format!(".{good}"),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{input}."),
        format!("{input}.{}", URL_SAFE.encode(&raw)),
        format!("{input}.{}", STANDARD.encode(&raw)),
        format!("{input}.{}", B64.encode(&raw[..63])),
        format!("{input}.{}", B64.encode([&raw[..], &[0]].concat())),
        format!("{input}.{signature}=="),
        String::new(),
        "..".to_owned(),
    ];
    for text in bad {
        assert!(Jws::parse(&text).is_err(), "{text:?}");
    }
    // The unused bits of the last digit must be zero, or one signature would have several texts.
    let last = signature.chars().last().unwrap();
    for other in ('A'..='Z').filter(|c| *c != last) {
        let text = format!("{}{other}", &good[..good.len() - 1]);
        if let Ok(jws) = Jws::parse(&text) {
            assert!(jws.verify(&key().public()).is_err());
        }
    }
    assert!(Jws::parse(&"e".repeat(MAX_JWS_BYTES + 1)).is_err());
}

#[test]
fn the_algorithm_is_the_registered_keys() {
    // ES256 in the header, the Ed25519 key registered; and the other way round.
    let named = |alg: &str| Jws::parse(&sign(&header().replace("EdDSA", alg), &claims())).unwrap();
    let error = named("ES256").verify(&key().public()).unwrap_err().to_string();
    assert!(error.contains("the header says ES256, the registered key is EdDSA"), "{error}");
    let p256 = sample::key(Algorithm::ES256, 2).public();
    assert!(named("EdDSA").verify(&p256).is_err());
    assert!(named("ES256").verify(&p256).is_err());
    assert!(named("ES256K").verify(&sample::key(Algorithm::ES256, 2).public()).is_err());
}

#[test]
fn a_token_has_no_signature() {
    assert!(sample::token().verify(&key().public()).is_err());
}

proptest! {
    #[test]
    fn text_never_panics(text in "(eyJ)?[A-Za-z0-9_.=-]{0,80}") {
        let _ = Jws::parse(&text);
    }

    #[test]
    fn any_json_never_panics(header in "[\\[\\]{}\":,a-z0-9\\\\. -]{0,60}", claims in ".{0,60}") {
        prop_assert!(Jws::parse(&sign(&header, &claims)).is_err());
    }
}
