//! What guests are made of, and what they read.

use arbitrary::Unstructured;
use serde_json::Value as Json;
use w3bstream_engine::abi::Program;
use w3bstream_engine::instrument::{Bounds, RESERVED_PREFIX, instrument};
use w3bstream_sdk::json::{Object, Value};

/// Modules: as they come, or (if the first byte is odd) a valid one that the bytes describe.
pub(crate) fn program(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    if kind.is_multiple_of(2) {
        module(rest);
        return;
    }
    let config = wasm_smith::Config {
        bulk_memory_enabled: kind & 2 != 0,
        reference_types_enabled: kind & 4 != 0,
        simd_enabled: kind & 8 != 0,
        max_instructions: 200,
        max_funcs: 8,
        ..wasm_smith::Config::default()
    };
    if let Ok(made) = wasm_smith::Module::new(config, &mut Unstructured::new(rest)) {
        module(&made.to_bytes());
    }
}

fn module(program: &[u8]) {
    let bounds = Bounds::default();
    let Ok(made) = instrument(program, &bounds) else {
        assert!(Program::prepare(program).is_err());
        return;
    };
    // An engine compiles the output, so it must be a module, whatever the input was.
    wasmparser::Validator::new().validate_all(&made.bytes).expect("what the pass makes is valid");
    let again = instrument(program, &bounds).expect("the pass is deterministic");
    assert_eq!(again.bytes, made.bytes, "the pass gives two modules for one program");
    assert!(instrument(&made.bytes, &bounds).is_err(), "what counts for itself is taken as a program");
    assert!(made.functions.iter().all(|(name, _)| !name.starts_with(RESERVED_PREFIX)));
    if let Ok(prepared) = Program::prepare(program) {
        assert_eq!(prepared.bytes(), made.bytes);
        assert_eq!(prepared.functions().len(), made.imports.len());
    }
}

/// The guests' reader of JSON, against serde's.
pub(crate) fn json(bytes: &[u8]) {
    let whole = serde_json::from_slice::<Json>(bytes);
    let Ok(object) = Object::parse(bytes) else { return };
    let whole = match whole {
        Ok(whole) => whole,
        // Guests get such a number as its text.
        Err(e) if e.to_string().contains("number out of range") => return,
        Err(e) => panic!("serde does not read it: {e}"),
    };
    let fields = whole.as_object().expect("it is an object");
    assert_eq!(object.iter().count(), fields.len());
    for (name, value) in object.iter() {
        let other = fields.get(name).unwrap_or_else(|| panic!("serde sees no {name:?}"));
        match value {
            Value::Null => assert!(other.is_null()),
            Value::Bool(b) => assert_eq!(other.as_bool(), Some(*b)),
            // To serde −0 is no whole number.
            Value::Int(n) => assert!(other.as_i64() == Some(*n) || (*n == 0 && other.as_f64() == Some(0.0))),
            Value::Number(_) => assert!(other.is_number()),
            Value::Str(text) => assert_eq!(other.as_str(), Some(&**text)),
            Value::Nested(text) => assert_eq!(&serde_json::from_str::<Json>(text).unwrap(), other),
        }
    }
}
