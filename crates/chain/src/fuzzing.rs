//! For `w3bstream-fuzzing` alone: RLP and the submitter's records from bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a broken promise must end the run; nothing but tests asks for this feature"
)]

use crate::rlp::{Item, Rlp, items, take};

/// RLP has one form: what is read is written as it was.
pub fn rlp(bytes: &[u8]) {
    let mut rest = bytes;
    let Ok(item) = take(&mut rest) else { return };
    let taken = &bytes[..bytes.len() - rest.len()];
    assert_eq!(again(item, 0), taken, "an item has two forms");
}

/// Written again, lists item by item as far as they are lists of items.
fn again(item: Item<'_>, depth: usize) -> Vec<u8> {
    match item {
        Item::Bytes(bytes) => Rlp::new().bytes(bytes).done(),
        Item::List(body) => {
            let inner = items(body).ok().filter(|_| depth < 32);
            let body = inner.map_or_else(
                || body.to_vec(),
                |items| items.into_iter().flat_map(|item| again(item, depth + 1)).collect(),
            );
            Rlp::new().list(&Rlp::new().raw(&body)).done()
        }
    }
}

/// What the submitter keeps of a nonce.
pub fn slot(bytes: &[u8]) {
    crate::submit::read_any(bytes);
}
