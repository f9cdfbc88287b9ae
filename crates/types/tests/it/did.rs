//! DIDs: vectors of the did:key and did:jwk specifications, and what is refused.

use proptest::prelude::*;
use w3bstream_types::*;

use crate::{sample, strategies};

#[test]
fn did_key_vectors() {
    // did:key method, "Test Vectors": Ed25519 and secp256k1 with their keys, P-256 with its JWK.
    let raw = [
        (
            "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp",
            Algorithm::EdDSA,
            "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29",
        ),
        (
            "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
            Algorithm::ES256K,
            "03874c15c7fda20e539c6e5ba573c139884c351188799f5458b4b41f7924f235cd",
        ),
    ];
    for (text, algorithm, key) in raw {
        let did: Did = text.parse().unwrap();
        let key = PublicKey::new(algorithm, &hex::decode(key).unwrap()).unwrap();
        assert_eq!(did.embedded_key().unwrap(), key);
        assert_eq!(Did::key(&key), did);
    }
    let p256 = [
        (
            "did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169",
            "fyNYMN0976ci7xqiSdag3buk-ZCwgXU4kz9XNkBlNUI",
            "hW2ojTNfH7Jbi8--CJUo3OCbH3y5n91g-IMA9MLMbTU",
        ),
        (
            "did:key:zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv",
            "igrFmi0whuihKnj9R3Om1SoMph72wUGeFaBbzG2vzns",
            "efsX5b10x8yjyrj4ny3pGfLcY7Xby1KzgqOdqnsrJIM",
        ),
    ];
    for (text, x, y) in p256 {
        let did: Did = text.parse().unwrap();
        let key = did.embedded_key().unwrap();
        assert_eq!(key.to_jwk(), serde_json::json!({"kty": "EC", "crv": "P-256", "x": x, "y": y}));
        assert_eq!(Did::key(&key), did);
    }
    let known: Did = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK".parse().unwrap();
    assert_eq!(Did::key(&known.embedded_key().unwrap()), known);
}

#[test]
fn did_jwk_vectors() {
    // did:jwk method, examples: P-256, and X25519, which is for key agreement and not for signatures.
    let p256 = "did:jwk:eyJjcnYiOiJQLTI1NiIsImt0eSI6IkVDIiwieCI6ImFjYklRaXVNczNpOF91c3pFakoydHBUdFJNNEVVM3l6OTFQSDZDZEgyVjAiLCJ5IjoiX0tjeUxqOXZXTXB0bm1LdG00NkdxRHo4d2Y3NEk1TEtncmwyR3pIM25TRSJ9";
    let did: Did = p256.parse().unwrap();
    let key = did.embedded_key().unwrap();
    assert_eq!(key.algorithm(), Algorithm::ES256);
    assert_eq!(key.to_jwk()["x"], "acbIQiuMs3i8_uszEjJ2tpTtRM4EU3yz91PH6CdH2V0");
    assert_eq!(Did::jwk(&key), did);
    assert_eq!(did.default_key_id().to_string(), format!("{p256}#0"));
    let x25519: Did = "did:jwk:eyJrdHkiOiJPS1AiLCJjcnYiOiJYMjU1MTkiLCJ1c2UiOiJlbmMiLCJ4IjoiM3A3YmZYdDl3YlRUVzJIQzdPUTFOei1EUThoYmVHZE5yZngtRkctSUswOCJ9"
        .parse()
        .unwrap();
    assert!(x25519.embedded_key().is_err());
}

#[test]
fn what_is_no_did_is_refused() {
    let long = format!("did:web:{}", "a".repeat(MAX_DID_BYTES));
    let bad = [
        "",
        "did",
        "did:",
        "did:key",
        "did:key:",
        "did::x",
        "DID:key:z",
        "did:Key:z",
        "did:web:a b",
        "did:web:a/b",
        "did:web:a#b",
        "did:web:a?b",
        "did:web:a:",
        "did:web:ä",
        "did:web:%",
        "did:web:a%4",
        "did:web:%4g",
        "did:web:+",
        &long,
    ];
    for text in bad {
        assert!(text.parse::<Did>().is_err(), "{text:?}");
    }
    for text in ["did:web:example.com%3A3000:user:alice", "did:io:0x1234", "did:example:a::b"] {
        assert_eq!(text.parse::<Did>().unwrap().as_str(), text);
    }
}

#[test]
fn what_is_no_key_is_refused() {
    let digits = |bytes: &[u8]| format!("did:key:z{}", bs58::encode(bytes).into_string());
    let point = sample::key(Algorithm::ES256, 3).public();
    let uncompressed = {
        let jwk = point.to_jwk();
        let part = |n: &str| base64_url(jwk[n].as_str().unwrap());
        digits(&[&[0x80, 0x24, 4][..], &part("x"), &part("y")].concat())
    };
    let bad = [
        "did:key:f6Mk".to_owned(),
        "did:key:z0OIl".to_owned(),
        digits(&[0xed, 1]),
        digits(&[&[0xec, 1][..], &[9; 32]].concat()),
        digits(&[&[0xed, 1][..], &[0; 32]].concat()),
        uncompressed,
        format!("did:key:z{}", "2".repeat(500)),
        "did:jwk:e30".to_owned(),
        "did:jwk:%%".replace('%', "-"),
        "did:web:example.com".to_owned(),
    ];
    for text in bad {
        assert!(text.parse::<Did>().unwrap().embedded_key().is_err(), "{text}");
    }
}

fn base64_url(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
}

#[test]
fn key_ids_are_a_did_and_a_fragment() {
    let key = sample::key(Algorithm::EdDSA, 3).public();
    for did in [Did::key(&key), Did::jwk(&key)] {
        let id = did.default_key_id();
        assert_eq!(id.as_str().parse::<KeyId>().unwrap(), id);
        assert_eq!((id.did(), format!("{did}#{}", id.fragment())), (did.clone(), id.to_string()));
        for fragment in ["", "a#b", "ä", "a b", "a/b", "%"] {
            assert!(format!("{did}#{fragment}").parse::<KeyId>().is_err(), "{did}#{fragment}");
        }
    }
    assert!("did:web:example.com#key-7".parse::<KeyId>().is_ok());
    assert!("did:web:example.com".parse::<KeyId>().is_err());
    assert!(format!("did:web:a#{}", "k".repeat(MAX_KEY_ID_BYTES)).parse::<KeyId>().is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_key_has_its_dids(key in strategies::secret()) {
        let public = key.public();
        for did in [Did::key(&public), Did::jwk(&public)] {
            prop_assert_eq!(&did.embedded_key().unwrap(), &public);
            prop_assert_eq!(&did.as_str().parse::<Did>().unwrap(), &did);
            let id = did.default_key_id();
            prop_assert_eq!(id.as_str().parse::<KeyId>().unwrap(), id);
        }
    }

    #[test]
    fn text_never_panics(text in "(did:(key|jwk|web):)?[ -~ä]{0,60}(#[ -~]{0,5})?") {
        let _ = text.parse::<KeyId>();
        if let Ok(did) = text.parse::<Did>() {
            let _ = did.embedded_key();
            let _ = did.default_key_id();
        }
    }
}
