//! Values in frames, there and back.

use super::*;
use crate::samples;

fn written(write: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let mut e = Encoder::new();
    write(&mut e);
    e.into_bytes()
}

fn read<T>(bytes: &[u8], read: impl FnOnce(&mut Decoder<'_>) -> Result<T, Malformed>) -> T {
    let mut d = Decoder::new(bytes);
    let value = read(&mut d).unwrap();
    assert!(d.is_at_end());
    value
}

#[test]
fn values_are_read_as_they_were_written() {
    samples::calls(|call| {
        let owned = read(&written(|e| put_call(e, &Digest::of(b"p"), call, true)), OwnedCall::read);
        assert_eq!(format!("{:?}", owned.call()), format!("{call:?}"));
        assert_eq!((owned.program, owned.has_database), (Digest::of(b"p"), true));
    });
    for value in samples::outcomes() {
        assert_eq!(read(&written(|e| put_outcome(e, &value)), outcome), value);
    }
    for value in samples::asked() {
        let bytes = written(|e| match &value {
            Asked::Get(key) => put_get(e, key),
            Asked::Contract(call) => put_contract(e, call),
            Asked::Sql(statement, budget) => put_sql(e, statement, budget),
        });
        assert_eq!(read(&bytes, Asked::read), value);
    }
    for value in samples::told() {
        let again = read(&written(|e| value.put(e)), Told::read);
        assert_eq!(format!("{again:?}"), format!("{value:?}"));
    }
    for why in GuestError::ALL {
        let [_, failed] = samples::outcomes();
        let failed = Outcome { result: Err(why), ..failed };
        assert_eq!(read(&written(|e| put_outcome(e, &failed)), outcome).result, Err(why));
    }
}

#[test]
fn every_sample_is_one_frame() {
    let kinds = samples::frames().into_iter().map(|bytes| {
        let mut wire = crate::frame::Wire::new(std::io::Cursor::new(bytes));
        wire.receive(|_| Some(1 << 20)).unwrap().kind
    });
    let kinds: Vec<_> = kinds.collect();
    let missing = crate::frame::Kind::ALL.iter().filter(|kind| !kinds.contains(kind));
    assert_eq!(missing.collect::<Vec<_>>(), [&crate::frame::Kind::Program], "its bytes are their own");
}

#[test]
fn errors_keep_their_kind_and_no_more_text_than_fits() {
    for kind in KINDS {
        let again = read(&written(|e| put_error(e, kind, "what")), error);
        assert_eq!((again.kind(), again.to_string()), (kind, "what".to_owned()));
    }
    let long = read(&written(|e| put_error(e, ErrorKind::Host, &"é".repeat(MAX_ERROR_BYTES))), error);
    assert_eq!(long.to_string().len(), MAX_ERROR_BYTES);
}

#[test]
fn another_version_is_told() {
    for (frames, abi) in [(VERSION + 1, ABI_VERSION), (VERSION, ABI_VERSION + 1)] {
        let bytes = written(|e| {
            e.u64(frames).u64(abi).text("wasmer");
        });
        let why = ready(&mut Decoder::new(&bytes)).unwrap_err().to_string();
        assert!(why.contains(&format!("frames of version {frames} and guests of version {abi}")), "{why}");
    }
}

#[test]
fn an_outcome_says_each_key_once_and_in_order() {
    let bytes = |keys: [&[u8]; 2], removed: &[u8]| {
        written(|e| {
            e.u64(0).i64(1).u64(2).array(2);
            for key in keys {
                e.array(2).bytes(key).bytes(b"v");
            }
            e.array(1).bytes(removed).array(0).array(0).u64(0).u64(0);
        })
    };
    assert!(outcome(&mut Decoder::new(&bytes([b"a", b"b"], b"c"))).is_ok());
    for wrong in [bytes([b"b", b"a"], b"c"), bytes([b"a", b"a"], b"c"), bytes([b"a", b"b"], b"b")] {
        assert!(outcome(&mut Decoder::new(&wrong)).is_err());
    }
}
