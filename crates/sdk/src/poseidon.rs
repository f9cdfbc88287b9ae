//! Poseidon, the hash that a zero-knowledge circuit computes cheaply, for commitments to private data.
//!
//! [`hash2`] is Poseidon over the scalar field of BN254 with circomlib's parameters for two inputs: width 3,
//! x⁵, 8 full and 57 partial rounds (<https://eprint.iacr.org/2019/458>). [`chain`] hashes any number of
//! items with it. Both are the same function in a guest and natively.
//!
//! A guest commits to data that stay private, puts the commitment into what the subnet attests, and keeps the
//! data for the prover. One [`hash2`] costs 0.74 million gas.
//!
//! ```
//! use w3bstream_sdk::poseidon::{Field, chain, hash2};
//!
//! let (one, two) = (Field::from_u64(1), Field::from_u64(2));
//! let known = "7853200120776062878684798364095072458815029376092732009249414926327459813530";
//! assert_eq!(hash2(one, two).to_decimal(), known);
//!
//! let salt = Field::from_be_bytes(&[7; 32]).unwrap();
//! let commitment = chain("my-project/reading/1", &[salt, Field::from_i64(-1250)]);
//! assert_eq!(commitment, hash2(hash2(Field::from_text("my-project/reading/1").unwrap(), salt), Field::from_i64(-1250)));
//! ```

mod constants;
mod field;

pub use field::Field;

use constants::{MATRIX, ROUNDS};
use field::Loose;

/// Full rounds before and after the partial ones.
const HALF_FULL: usize = 4;
const PARTIAL: usize = 57;

/// Poseidon of two numbers: the first number of the permuted (0, `left`, `right`). Not commutative.
#[must_use]
pub fn hash2(left: Field, right: Field) -> Field {
    let mut state = [Loose::ZERO, left.loose(), right.loose()];
    for (round, constants) in ROUNDS.chunks_exact(3).enumerate() {
        for (number, constant) in state.iter_mut().zip(constants) {
            *number = number.plus(constant);
        }
        let powers = if (HALF_FULL..HALF_FULL + PARTIAL).contains(&round) { 1 } else { 3 };
        for number in state.iter_mut().take(powers) {
            let square = number.times(number);
            *number = square.times(&square).times(number);
        }
        state =
            [Loose::dot(&MATRIX[0], &state), Loose::dot(&MATRIX[1], &state), Loose::dot(&MATRIX[2], &state)];
    }
    state[0].strict()
}

/// A hash of `items`: starting from `domain`, each step is [`hash2`] of what was so far and the next item.
///
/// Say in `domain` which layout the items have, and put a count before a list whose length varies: the chain
/// itself does not mark its end. If the items are to stay hidden, make the first one a salt.
///
/// # Panics
/// If `domain` has more than 31 bytes, which is a mistake of the programmer.
#[must_use]
#[allow(clippy::panic, reason = "a wrong domain is a mistake of the program, as documented")]
pub fn chain(domain: &str, items: &[Field]) -> Field {
    let domain = Field::from_text(domain).unwrap_or_else(|| panic!("a domain has at most 31 bytes"));
    items.iter().fold(domain, |hash, item| hash2(hash, *item))
}

#[cfg(test)]
mod tests;
