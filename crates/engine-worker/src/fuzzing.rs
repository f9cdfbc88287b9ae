//! For `w3bstream-fuzzing` alone: frames from bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken promise must end the run; nothing but tests asks for this feature"
)]

use std::io::{Cursor, Read, Write};

use w3bstream_types::{Encoder, Malformed};

use crate::frame::{Fault, Frame, Kind, Wire};
use crate::values::{
    About, Asked, OwnedCall, Terms, Told, error, outcome, put_call, put_contract, put_error, put_get,
    put_outcome, put_ready, put_sql, ready,
};

/// A connection whose other side has said all that it will.
struct Said(Cursor<Vec<u8>>);

impl Read for Said {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Bytes as one frame. Its contents can be written, and are then read as the same.
pub fn frame(bytes: &[u8]) {
    let most = bytes.len();
    let read = Wire::new(Said(Cursor::new(bytes.to_vec()))).receive(|_| Some(most));
    let Ok(frame) = read else { return };
    assert_eq!(frame.body.len() + 5, bytes.len(), "a frame is all of the bytes");
    contents(&frame);
}

/// What was read, as it is written.
fn again<T>(
    frame: &Frame,
    read: impl Fn(&mut w3bstream_types::Decoder<'_>) -> Result<T, Malformed>,
    write: impl Fn(&mut Encoder, &T),
) {
    let written = |value: &T| {
        let mut e = Encoder::new();
        write(&mut e, value);
        e.into_bytes()
    };
    let Ok(value) = frame.parse(&read) else { return };
    let first = written(&value);
    let same = Frame { kind: frame.kind, body: first.clone() };
    let second = same.parse(&read).expect("what was written is read");
    assert_eq!(written(&second), first, "{:?}: written twice, it differs", frame.kind);
    let longer = Frame { kind: frame.kind, body: [&first[..], &[0]].concat() };
    assert!(matches!(longer.parse(&read), Err(Fault::Frame(_))), "a byte behind the contents was taken");
}

fn contents(frame: &Frame) {
    match frame.kind {
        Kind::Hello => again(frame, Terms::read, |e, terms| terms.put(e)),
        Kind::Ready => again(frame, ready, |e, name| put_ready(e, name)),
        Kind::Loaded => again(frame, About::read, |e, about| about.put(e)),
        Kind::Call => again(frame, OwnedCall::read, |e, owned| {
            put_call(e, &owned.program, &owned.call(), owned.has_database);
        }),
        Kind::Outcome => again(frame, outcome, put_outcome),
        Kind::Failed => again(frame, error, |e, error| put_error(e, error.kind(), &error.to_string())),
        Kind::Answer => again(frame, Told::read, |e, told| told.put(e)),
        Kind::Ask => again(frame, Asked::read, |e, asked| match asked {
            Asked::Get(key) => put_get(e, key),
            Asked::Contract(call) => put_contract(e, call),
            Asked::Sql(statement, budget) => put_sql(e, statement, budget),
        }),
        Kind::Load | Kind::Program | Kind::Unknown => {}
    }
}

/// A frame of each kind that has contents, with many values and with few.
#[must_use]
pub fn samples() -> Vec<Vec<u8>> {
    crate::samples::frames()
}
