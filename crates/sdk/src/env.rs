//! The project's settings, from the manifest's `env`.

use alloc::string::String;

use crate::{Error, host};

/// "No such setting" in the host's numbering.
const NOT_FOUND: i32 = 8;

/// The value of a setting, or `None` if the manifest has none of that name.
///
/// # Errors
/// [`Error::HOST`] if the host refuses, or the value is not UTF-8.
pub fn get(name: &str) -> Result<Option<String>, Error> {
    match host::get_env(name.as_bytes()) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(Error::new(Error::HOST, "the setting is not utf-8")),
        },
        Err(NOT_FOUND) => Ok(None),
        Err(code) => Err(Error::host("ws_get_env", code)),
    }
}

/// The value of a setting as a whole number, or `None` if the manifest has none of that name.
///
/// # Errors
/// [`Error::GENERAL`] naming the setting if it is there but no whole number; as [`get`] otherwise.
pub fn get_i64(name: &str) -> Result<Option<i64>, Error> {
    let Some(text) = get(name)? else { return Ok(None) };
    match text.parse() {
        Ok(value) => Ok(Some(value)),
        Err(_) => {
            let mut message = String::from("the setting ");
            message.push_str(name);
            message.push_str(" is no whole number");
            Err(Error::from(message))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::mock::Host;

    #[test]
    fn a_setting_is_absent_a_number_or_an_error_with_its_name() {
        let mut host = Host::new().env("limit", "-8000").env("broken", "8.5");
        let outcome = host.deliver(
            |_| {
                assert_eq!(super::get_i64("limit")?, Some(-8000));
                assert_eq!(super::get("absent")?, None);
                super::get_i64("broken").map(drop)
            },
            "any",
            b"",
        );
        assert_eq!(outcome.code, crate::Error::GENERAL);
        assert_eq!(outcome.logs[0].text, "the setting broken is no whole number");
    }
}
