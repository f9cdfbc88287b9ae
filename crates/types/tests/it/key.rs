//! Keys and signatures: published vectors, and what is refused.

use proptest::prelude::*;
use w3bstream_types::*;

use crate::{sample, strategies};

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

#[test]
fn ed25519_agrees_with_rfc_8032() {
    // §7.1, tests 1 and 3.
    let cases = [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ];
    for (secret, public, message, signature) in cases {
        let key = SecretKey::from_bytes(Algorithm::EdDSA, &bytes(secret).try_into().unwrap()).unwrap();
        assert_eq!(key.public().as_bytes(), bytes(public));
        assert_eq!(key.sign(&bytes(message)).to_vec(), bytes(signature));
    }
}

#[test]
fn p256_agrees_with_rfc_6979() {
    // §A.2.5, SHA-256, message "sample"; s is the low twin of the published one.
    let secret = bytes("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721");
    let key = SecretKey::from_bytes(Algorithm::ES256, &secret.try_into().unwrap()).unwrap();
    let signature = key.sign(b"sample");
    let r = "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716";
    assert_eq!(signature[..32], bytes(r));
    let published = bytes(&format!("{r}f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"));
    // JOSE leaves P-256 malleable: both are taken, and the message's id does not contain either.
    key.public().verify(b"sample", &published).unwrap();
    key.public().verify(b"sample", &signature).unwrap();
}

#[test]
fn es256k_refuses_a_high_s() {
    let key = sample::key(Algorithm::ES256K, 9);
    let low = key.sign(b"message");
    key.public().verify(b"message", &low).unwrap();
    let signature = k256::ecdsa::Signature::from_slice(&low).unwrap();
    let high =
        k256::ecdsa::Signature::from_scalars(signature.r().to_bytes(), (-*signature.s()).to_bytes()).unwrap();
    assert!(key.public().verify(b"message", &high.to_bytes()).is_err());
}

#[test]
fn ed25519_is_strict() {
    let key = sample::key(Algorithm::EdDSA, 9);
    let mut signature = key.sign(b"message");
    // s + L: the same signature for a lax verifier.
    let order = bytes("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let mut carry = 0;
    for (byte, add) in signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert!(key.public().verify(b"message", &signature).is_err());
    let mut one = [0; 32];
    one[0] = 1;
    assert!(PublicKey::new(Algorithm::EdDSA, &one).unwrap_err().to_string().contains("low order"));
    // y = p + 3 is the point y = 3 written another way. Both are on the curve, neither is of low order.
    let mut three = [0; 32];
    three[0] = 3;
    let mut unreduced = [0xff; 32];
    (unreduced[0], unreduced[31]) = (0xf0, 0x7f);
    assert!(PublicKey::new(Algorithm::EdDSA, &three).is_ok());
    assert!(PublicKey::new(Algorithm::EdDSA, &unreduced).is_err());
}

#[test]
fn bytes_that_are_no_key_are_refused() {
    for (algorithm, bad) in [
        (Algorithm::EdDSA, vec![2; 32]),
        (Algorithm::EdDSA, vec![9; 31]),
        (Algorithm::ES256, [&[2][..], &[0xff; 32]].concat()),
        (Algorithm::ES256, vec![0]),
        (Algorithm::ES256K, vec![]),
        (Algorithm::ES256K, [&[4][..], &[1; 64]].concat()),
    ] {
        assert!(PublicKey::new(algorithm, &bad).is_err(), "{algorithm} {bad:?}");
    }
    assert!(SecretKey::from_bytes(Algorithm::ES256, &[0; 32]).is_err());
    assert!(SecretKey::from_bytes(Algorithm::ES256K, &[0xff; 32]).is_err());
}

#[test]
fn a_public_jwk_is_for_signatures_and_public() {
    let jwk = sample::key(Algorithm::ES256, 3).public().to_jwk();
    assert!(PublicKey::from_jwk(&jwk).is_ok());
    let with = |name: &str, value: &str| {
        let mut other = jwk.clone();
        other[name] = value.into();
        PublicKey::from_jwk(&other)
    };
    assert!(with("use", "sig").is_ok());
    assert!(with("alg", "ES256").is_ok());
    assert!(with("kid", "1").is_ok());
    for (name, value) in [
        ("d", "AA"),
        ("use", "enc"),
        ("alg", "ES256K"),
        ("crv", "secp256k1"),
        ("kty", "OKP"),
        ("x", "AA"),
        ("y", ""),
    ] {
        assert!(with(name, value).is_err(), "{name} {value}");
    }
    // Padded, and the alphabet of plain base64.
    let x = jwk["x"].as_str().unwrap();
    assert!(with("x", &format!("{x}=")).is_err());
}

#[test]
fn secrets_are_not_shown() {
    let key = sample::key(Algorithm::EdDSA, 0xab);
    assert!(!format!("{key:?}").contains("abab"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn signatures_bind_message_and_key(
        key in strategies::secret(), other in strategies::secret(),
        message in proptest::collection::vec(any::<u8>(), 1..80), at in any::<usize>(), bit in 0..8u8,
    ) {
        let (public, signature) = (key.public(), key.sign(&message));
        prop_assert!(public.verify(&message, &signature).is_ok());
        prop_assert!(other.public().verify(&message, &signature).is_err());
        let mut changed = message.clone();
        changed[at % message.len()] ^= 1 << bit;
        prop_assert!(public.verify(&changed, &signature).is_err());
        let mut changed = signature;
        changed[at % 64] ^= 1 << bit;
        prop_assert!(public.verify(&message, &changed).is_err());
        prop_assert!(public.verify(&message, &signature[..63]).is_err());
    }

    #[test]
    fn a_public_key_has_one_text_and_one_jwk(key in strategies::secret()) {
        let public = key.public();
        prop_assert_eq!(&public.to_string().parse::<PublicKey>().unwrap(), &public);
        prop_assert_eq!(&PublicKey::from_jwk(&public.to_jwk()).unwrap(), &public);
        let (name, digits) = { let t = public.to_string(); let (a, b) = t.split_once(':').unwrap(); (a.to_owned(), b.to_owned()) };
        if digits.bytes().any(|b| b.is_ascii_lowercase()) {
            let shouted = format!("{name}:{}", digits.to_uppercase());
            prop_assert!(shouted.parse::<PublicKey>().is_err());
        }
        prop_assert_eq!(SecretKey::from_bytes(key.algorithm(), &key.to_bytes()).unwrap().public(), public);
    }
}
