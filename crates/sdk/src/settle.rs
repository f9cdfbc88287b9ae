//! Statements for a contract to act on.

use crate::{Error, host};

/// Asks for a settlement: once the block is attested, and proven if the manifest says so, the node brings the
/// statement to the contract that the manifest names under `name`. The contract gets each statement at most once.
///
/// `statement` is the ABI encoding of the settlement's fields, one word of 32 bytes each; see [`word`].
///
/// # Errors
/// [`Error::HOST`] if the manifest has no such settlement, or a word is no value of its field's type.
pub fn submit(name: &str, statement: &[u8]) -> Result<(), Error> {
    match host::settle(name.as_bytes(), statement) {
        0 => Ok(()),
        code => Err(Error::host("ws_settle", code)),
    }
}

/// The ABI word of a signed or unsigned integer.
#[must_use]
pub fn word(value: i64) -> [u8; 32] {
    let mut out = if value < 0 { [0xff; 32] } else { [0; 32] };
    let (_, low) = out.split_at_mut(24);
    low.copy_from_slice(&value.to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::word;

    #[test]
    fn integers_are_words_in_twos_complement() {
        assert_eq!(word(0), [0; 32]);
        assert_eq!(word(-1), [0xff; 32]);
        assert_eq!(word(258)[30..], [1, 2]);
        assert_eq!(word(-2)[31], 0xfe);
    }
}
