//! What the cold chain's contract knows.

use w3bstream_types::{Digest, Malformed};

use crate::abi::{Token, Words, call};

const DAY_OF: &str = "dayOf(bytes32,uint32)";

/// What stands about a device's day. Temperatures are in thousandths of a degree Celsius.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    /// Number of readings, 1 to 24.
    pub n: u8,
    /// The lowest.
    pub lo: i32,
    /// The highest.
    pub hi: i32,
    /// floor(sum / n).
    pub average: i32,
    /// sum − average · n.
    pub remainder: u8,
    /// How many statements about this day were settled.
    pub statements: u32,
    /// The output that says so.
    pub epoch: u64,
    /// Its height.
    pub height: u64,
    /// Its place in the block.
    pub index: u64,
    /// Commitment to the readings, big-endian.
    pub commitment: [u8; 32],
}

/// Call data that asks for a device's day. `device` is SHA-256 of its DID, `day` counts from 1970-01-01 UTC.
#[must_use]
pub fn day_of_call(device: &Digest, day: u32) -> Vec<u8> {
    call(DAY_OF, &[Token::digest(device), Token::uint(day.into())])
}

/// Reads the answer; `None` if there is no statement about that day.
///
/// # Errors
/// [`Malformed`] if it is no such answer.
pub fn decode_day(answer: &[u8]) -> Result<Option<Day>, Malformed> {
    let mut words = Words::new("day", answer);
    let day = Day {
        n: words.uint()?,
        lo: words.i32()?,
        hi: words.i32()?,
        average: words.i32()?,
        remainder: words.uint()?,
        statements: words.uint()?,
        epoch: words.u64()?,
        height: words.u64()?,
        index: words.u64()?,
        commitment: words.word()?,
    };
    words.end()?;
    Ok((day.n != 0).then_some(day))
}
