//! The applet's key-value state: kept between events, part of what a subnet agrees on.
//!
//! Keys are the applet's own; another applet of the same project has other keys. A key has 1 to 1,024 bytes. A read sees what the same
//! call wrote. There is no delete: set an empty value, and read it as absent.

use alloc::string::String;
use alloc::vec::Vec;

use crate::{Error, host};

/// "Not found" in the host's numbering.
const NOT_FOUND: i32 = 2;

/// The value of a key, or `None` if it was never set.
///
/// # Errors
/// [`Error::HOST`] if the host refuses.
pub fn get(key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, Error> {
    match host::get_db(key.as_ref()) {
        Ok(value) => Ok(Some(value)),
        Err(NOT_FOUND) => Ok(None),
        Err(code) => Err(Error::host("ws_get_db", code)),
    }
}

/// Sets a key.
///
/// # Errors
/// [`Error::HOST`] if the host refuses. Passing the project's limit of written bytes ends the call instead.
pub fn set(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), Error> {
    match host::set_db(key.as_ref(), value.as_ref()) {
        0 => Ok(()),
        code => Err(Error::host("ws_set_db", code)),
    }
}

/// The value of a key as a whole number in decimal, as [`set_i64`] writes it.
///
/// # Errors
/// [`Error::GENERAL`] if the value is something else; as [`get`] otherwise.
pub fn get_i64(key: impl AsRef<[u8]>) -> Result<Option<i64>, Error> {
    let Some(value) = get(key)? else { return Ok(None) };
    let number = core::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
    number
        .map(Some)
        .ok_or(Error::new(Error::GENERAL, "a key that should hold a whole number holds something else"))
}

/// Sets a key to a whole number, in decimal.
///
/// # Errors
/// As [`set`].
pub fn set_i64(key: impl AsRef<[u8]>, value: i64) -> Result<(), Error> {
    let mut text = String::new();
    crate::json::push_i64(&mut text, value);
    set(key, text)
}

#[cfg(test)]
mod tests {
    use crate::mock::Host;

    #[test]
    fn absent_empty_and_foreign_values_are_told_apart() {
        let mut host = Host::new();
        host.set("text", "abc");
        let outcome = host.deliver(
            |_| {
                assert_eq!(super::get("absent")?, None);
                super::set(b"\xff", "")?;
                assert_eq!(super::get(b"\xff")?, Some(Vec::new()));
                super::set_i64("least", i64::MIN)?;
                assert_eq!(super::get_i64("least")?, Some(i64::MIN));
                super::get_i64("text").map(drop)
            },
            "any",
            b"",
        );
        assert_eq!(outcome.code, crate::Error::GENERAL);
        assert_eq!(host.state().len(), 3);
    }
}
