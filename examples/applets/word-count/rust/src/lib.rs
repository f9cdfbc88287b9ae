//! Counts the words of texts: each under the key `word/<word>`, all of them under `total`.
//!
//! A word is a run of letters and digits; every byte beyond ASCII counts as a letter, and A to Z as a to z. Words of more than 64
//! bytes are left out. A text of more than 2,000 words is refused, since each takes two calls of the host.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::vec::Vec;

use w3bstream_sdk::{Error, Event, handler, kv};

w3bstream_sdk::runtime!();

/// Code of a text that has too many words.
pub const TOO_MANY: i32 = 3;

const MOST_WORDS: usize = 2_000;
const LONGEST_WORD: usize = 64;

/// Counts the words of one text.
///
/// # Errors
/// [`TOO_MANY`], with nothing counted; [`Error::HOST`] if the host refuses.
#[handler]
pub fn count(event: Event) -> Result<(), Error> {
    let text = event.data().to_ascii_lowercase();
    let part = |b: &u8| !(b.is_ascii_alphanumeric() || *b >= 0x80);
    let words = text.split(part).filter(|w| !w.is_empty() && w.len() <= LONGEST_WORD);
    let number = words.clone().count();
    if number > MOST_WORDS {
        return Err(Error::new(TOO_MANY, "more than 2000 words in one text"));
    }
    for word in words {
        let key: Vec<u8> = [b"word/", word].concat();
        kv::set_i64(&key, kv::get_i64(&key)?.unwrap_or(0) + 1)?;
    }
    kv::set_i64("total", kv::get_i64("total")?.unwrap_or(0) + number as i64)
}

#[cfg(test)]
mod tests {
    use w3bstream_sdk::mock::Host;

    #[test]
    fn words_are_told_apart_by_their_letters_alone() {
        let mut host = Host::new();
        let text = "The cat, the CAT's hat; caf\u{e9} 7".as_bytes();
        assert_eq!(host.deliver(super::count, "text", text).code, 0);
        let counts = ["word/the", "word/cat", "word/caf\u{e9}", "word/7", "word/s", "total"];
        assert_eq!(counts.map(|key| host.kv_text(key).unwrap()), ["2", "2", "1", "1", "1", "8"]);
        let long = "a ".repeat(2_001);
        assert_eq!(host.deliver(super::count, "text", long.as_bytes()).code, super::TOO_MANY);
        assert_eq!(host.deliver(super::count, "text", "x".repeat(65).as_bytes()).code, 0);
        assert_eq!(host.kv_text("total"), Some("8"));
    }
}
