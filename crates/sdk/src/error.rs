//! Why a handler failed.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;

/// Why a handler failed: a code, which becomes the call's result, and a text, which goes to the log.
///
/// `0` means success to every caller, so an error never carries it. The SDK's own errors have negative
/// codes ([`Error::HOST`], [`Error::JSON`]); use positive ones for yours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    code: i32,
    message: Cow<'static, str>,
}

impl Error {
    /// Code of an error that was made from a text alone.
    pub const GENERAL: i32 = 1;
    /// Code of a host call that failed.
    pub const HOST: i32 = -1;
    /// Code of a payload or value that is not the JSON that was expected.
    pub const JSON: i32 = -2;
    /// Code of a payload that is not what the handler takes, such as text.
    pub const PAYLOAD: i32 = -3;
    /// Code of an event that was not sent, because as many led here as may follow from each other.
    pub const DEPTH: i32 = -11;
    /// Code of an event that was not sent, because the message has caused as many, or as many bytes of them, as it may.
    pub const EVENTS: i32 = -12;

    /// An error with a code of your choice; 0 is replaced by [`Error::GENERAL`].
    pub fn new(code: i32, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code: if code == 0 { Self::GENERAL } else { code }, message: message.into() }
    }

    /// A host call that answered with a code that its caller cannot go on from.
    pub(crate) fn host(call: &str, code: i32) -> Self {
        let mut message = String::from(call);
        message.push_str(" answered ");
        crate::json::push_i64(&mut message, i64::from(code));
        Self::new(Self::HOST, message)
    }

    /// The code, never 0.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.code
    }

    /// The text.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl core::error::Error for Error {}

impl From<&'static str> for Error {
    fn from(message: &'static str) -> Self {
        Self::new(Self::GENERAL, message)
    }
}

impl From<String> for Error {
    fn from(message: String) -> Self {
        Self::new(Self::GENERAL, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_never_an_error_code() {
        assert_eq!(Error::new(0, "x").code(), Error::GENERAL);
        assert_eq!(Error::new(42, "x").code(), 42);
        assert_eq!(Error::from("no device").code(), Error::GENERAL);
    }

    #[test]
    fn a_host_error_names_the_call_and_its_answer() {
        assert_eq!(Error::host("ws_get_db", -1).message(), "ws_get_db answered -1");
    }
}
