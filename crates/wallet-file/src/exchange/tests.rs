use proptest::prelude::*;

use super::*;

const ALGORITHMS: [Algorithm; 3] = [Algorithm::EdDSA, Algorithm::ES256, Algorithm::ES256K];

/// RFC 8037, appendix A.1.
const RFC8037: &str = r#"{"kty":"OKP","crv":"Ed25519",
    "d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

/// RFC 8410, section 10.3.
const RFC8410: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";

/// The examples of the Web3 Secret Storage Definition; their passphrase is `testpassword`.
const SCRYPT: &str = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"83dbcc02d8ccb40e466191a123791e0e"},
    "ciphertext":"d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c","kdf":"scrypt",
    "kdfparams":{"dklen":32,"n":262144,"p":8,"r":1,
    "salt":"ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19"},
    "mac":"2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097"},
    "id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#;
const PBKDF2: &str = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"6087dab2f9fdbbfaddc31a909735c1e6"},
    "ciphertext":"5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46","kdf":"pbkdf2",
    "kdfparams":{"c":262144,"dklen":32,"prf":"hmac-sha256",
    "salt":"ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"},
    "mac":"517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"},
    "id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#;

fn pass(text: &str) -> Passphrase {
    Passphrase::new(text.into())
}

fn key(algorithm: Algorithm) -> SecretKey {
    SecretKey::from_bytes(algorithm, &[0x41; 32]).unwrap()
}

fn read(text: &str) -> Result<SecretKey, Error> {
    import(text.as_bytes(), None)
}

fn written(key: &SecretKey, format: KeyFormat, passphrase: Option<&Passphrase>) -> Result<String, Error> {
    export(key, format, passphrase, ScryptCost::INSECURE).map(|text| text.to_string())
}

fn refused(text: &str, passphrase: Option<&Passphrase>) -> (ErrorKind, String) {
    let e = import(text.as_bytes(), passphrase).err().unwrap_or_else(|| panic!("{text} is taken"));
    (e.kind(), e.to_string())
}

#[test]
fn every_key_comes_back_from_every_form_that_has_a_place_for_it() {
    let secret = pass("correct horse");
    for algorithm in ALGORITHMS {
        let key = key(algorithm);
        for (format, passphrase) in [
            (KeyFormat::Jwk, None),
            (KeyFormat::Pkcs8, None),
            (KeyFormat::Pkcs8, Some(&secret)),
            (KeyFormat::Keystore, Some(&secret)),
        ] {
            let text = written(&key, format, passphrase);
            if format == KeyFormat::Keystore && algorithm != Algorithm::ES256K {
                assert_eq!(text.unwrap_err().kind(), ErrorKind::Incompatible);
                continue;
            }
            let again = import(text.unwrap().as_bytes(), passphrase).unwrap();
            assert_eq!(again.to_bytes(), key.to_bytes(), "{algorithm} {format:?}");
            assert_eq!(again.algorithm(), algorithm);
        }
    }
}

#[test]
fn what_is_encrypted_shows_nothing_and_needs_its_passphrase() {
    let key = key(Algorithm::ES256K);
    for format in [KeyFormat::Pkcs8, KeyFormat::Keystore] {
        let secret = pass("correct horse");
        let text = written(&key, format, Some(&secret)).unwrap();
        assert!(!text.contains(&"41".repeat(16)) && !text.contains("QUFBQUFB"), "{text}");
        assert_ne!(text, written(&key, format, Some(&secret)).unwrap(), "salt and iv are drawn anew");
        assert_eq!(
            refused(&text, None),
            (ErrorKind::WrongPassphrase, "is encrypted: give its passphrase".into())
        );
        assert_eq!(refused(&text, Some(&pass("correct hors"))).0, ErrorKind::WrongPassphrase);
        let none = written(&key, format, Some(&pass("")));
        assert_eq!(none.unwrap_err().kind(), ErrorKind::WrongPassphrase);
    }
}

#[test]
fn a_form_and_a_passphrase_that_do_not_fit_are_refused_with_the_way_out() {
    let key = key(Algorithm::ES256K);
    let e = written(&key, KeyFormat::Jwk, Some(&pass("x"))).unwrap_err();
    assert!(e.kind() == ErrorKind::Incompatible && e.to_string().contains("choose pkcs8"), "{e}");
    let e = written(&key, KeyFormat::Keystore, None).unwrap_err();
    assert!(e.kind() == ErrorKind::Incompatible && e.to_string().contains("give the passphrase"), "{e}");
    assert_eq!("pkcs8".parse::<KeyFormat>().unwrap(), KeyFormat::Pkcs8);
    assert!("pem".parse::<KeyFormat>().unwrap_err().to_string().contains("jwk, pkcs8 or keystore"));
}

#[test]
fn keys_of_the_standards_are_read() {
    let signer = read(RFC8037).unwrap();
    // RFC 8037, appendix A.4: the signature over the JWS signing input.
    let signature = signer.sign(b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc");
    assert_eq!(hex::encode(&signature[..8]), "860c98d2297f3060");
    read(&RFC8037.replacen('{', r#"{"kid":"my-device","use":"sig","#, 1)).expect("other members are ignored");
    // RFC 8410's public key of the same section.
    let key = read(RFC8410).unwrap();
    assert_eq!(
        hex::encode(key.public().as_bytes()),
        "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"
    );
    assert_eq!(written(&key, KeyFormat::Pkcs8, None).unwrap(), RFC8410);
    for keystore in [PBKDF2, &PBKDF2.replace("crypto", "Crypto")] {
        let key = import(keystore.as_bytes(), Some(&pass("testpassword"))).unwrap();
        assert_eq!(
            hex::encode(key.to_bytes()),
            "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d"
        );
    }
    // RFC 7914, section 2: N must be less than 2^(128 r / 8), which this one's is not. No wallet writes r = 1.
    let (kind, why) = refused(SCRYPT, Some(&pass("testpassword")));
    assert!(kind == ErrorKind::Corrupt && why.contains("scrypt figures"), "{why}");
}

#[test]
fn what_is_no_key_is_refused_with_the_reason_and_without_the_secret() {
    for (text, why) in [
        (RFC8037.replace("\"d\"", "\"e\""), "no private part"),
        (RFC8037.replace("nWGx", "nWGy"), "does not belong"),
        (RFC8037.replace("nWGxne", ""), "is not 32 bytes"),
        (RFC8037.replace("OKP", "RSA"), "must be OKP/Ed25519"),
        ("nWGxne_9".into(), "is neither JSON"),
        ("{nWGxne_9".into(), "is not as in a JWK"),
        (RFC8410.replace("MC4C", "MC5C"), "is no PKCS#8"),
        (RFC8410.replace("PRIVATE", "EC PRIVATE"), "openssl pkcs8 -topk8"),
        (RFC8410.replace("END", "AND"), "is no PEM"),
    ] {
        let (kind, said) = refused(&text, None);
        assert!([ErrorKind::Corrupt, ErrorKind::Incompatible].contains(&kind), "{said}");
        assert!(said.contains(why), "{said}");
        assert!(!said.contains("ne_9"), "{said}");
    }
    assert_eq!(import(&[0xff, 0xfe], None).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_keystore_that_lies_is_refused() {
    let secret = pass("correct horse");
    let key = key(Algorithm::ES256K);
    let text = written(&key, KeyFormat::Keystore, Some(&secret)).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut changed = |pointer: &str, to: serde_json::Value| {
        let old = std::mem::replace(value.pointer_mut(pointer).unwrap(), to);
        let refused = refused(&value.to_string(), Some(&secret));
        *value.pointer_mut(pointer).unwrap() = old;
        refused
    };
    assert!(changed("/address", "00".repeat(20).into()).1.contains("names another address"));
    assert_eq!(changed("/crypto/mac", "00".repeat(32).into()).0, ErrorKind::WrongPassphrase);
    assert_eq!(changed("/crypto/ciphertext", "00".repeat(32).into()).0, ErrorKind::WrongPassphrase);
    assert!(changed("/crypto/ciphertext", "00".repeat(31).into()).1.contains("64 hex digits"));
    assert!(changed("/crypto/kdfparams/n", 15.into()).1.contains("power of two"));
    assert!(changed("/crypto/kdfparams/dklen", 64.into()).1.contains("dklen"));
    for (figure, to) in [("n", 1_u64 << 40), ("r", u64::MAX), ("r", 0), ("p", 17), ("p", 0)] {
        let (kind, said) = changed(&format!("/crypto/kdfparams/{figure}"), to.into());
        assert!(kind == ErrorKind::Corrupt && said.contains("more memory or time"), "{figure} {to}: {said}");
    }
    assert_eq!(changed("/version", 4.into()).0, ErrorKind::Incompatible);
    assert_eq!(changed("/crypto/cipher", "aes-128-cbc".into()).0, ErrorKind::Incompatible);
    assert_eq!(changed("/crypto/kdf", "md5".into()).0, ErrorKind::Incompatible);
    // Nothing of it was left changed.
    import(value.to_string().as_bytes(), Some(&secret)).unwrap();
}

#[test]
fn a_hostile_cost_in_pkcs8_is_refused_before_any_work() {
    let text = written(&key(Algorithm::EdDSA), KeyFormat::Pkcs8, Some(&pass("p"))).unwrap();
    let (_, document) = ::pkcs8::SecretDocument::from_pem(&text).unwrap();
    let bytes = document.as_bytes();
    // N = 16, r = 8, p = 5: each one byte of an INTEGER.
    let at = bytes.windows(9).position(|w| w == [2, 1, 16, 2, 1, 8, 2, 1, 5]).expect("the figures of scrypt");
    let mut forged = bytes.to_vec();
    forged[at + 8] = 127;
    let forged = ::pkcs8::SecretDocument::try_from(forged).unwrap();
    let forged = forged.to_pem("ENCRYPTED PRIVATE KEY", ::pkcs8::LineEnding::LF).unwrap();
    let (kind, said) = refused(&forged, Some(&pass("p")));
    assert!(kind == ErrorKind::Corrupt && said.contains("more memory or time"), "{said}");
}

#[test]
fn files_are_private_and_named_in_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fees.pem");
    let key = key(Algorithm::ES256);
    export_to(&path, &key, KeyFormat::Pkcs8, None).unwrap();
    assert_eq!(import_from(&path, None).unwrap().public(), key.public());
    assert_eq!(export_to(&path, &key, KeyFormat::Jwk, None).unwrap_err().kind(), ErrorKind::Exists);
    let wrong = dir.path().join("wrong.json");
    files::create(&wrong, b"{}").unwrap();
    let e = import_from(&wrong, None).unwrap_err();
    assert!(e.to_string().contains("wrong.json"), "{e}");
}

proptest! {
    #[test]
    fn reading_anything_never_panics(text in "\\PC{0,60}", d in "[A-Za-z0-9_=-]{0,60}") {
        let jwk = RFC8037.replace("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A", &d);
        prop_assert!(read(&text).is_err());
        prop_assert!(read(&jwk).is_err());
        let _ = read(&RFC8410.replace("MC4CAQAwBQYDK2VwBCIEINTu", &d));
    }
}
