//! The system API of the first W3bstream, for applets that were written for it. What it can do, [`crate::contract`] does with types.

use alloc::string::String;

use crate::{Error, host};

/// Sends a request, `{"Method","Url","Header","Body"}` with the body in base64, and gives the answer,
/// `{"Status","StatusCode","Proto","Header","Body"}`. What cannot be done is an answer with a status, no error.
///
/// # Errors
/// [`Error::HOST`] if it is no request.
pub fn call(json: &str) -> Result<String, Error> {
    let answer = host::api_call(json.as_bytes()).map_err(|code| Error::host("ws_api_call", code))?;
    String::from_utf8(answer)
        .map_err(|_| Error::new(Error::HOST, "the answer of the system API is not utf-8"))
}

#[cfg(test)]
mod tests {
    use crate::mock::Host;

    #[test]
    fn an_answer_is_what_the_host_was_given() {
        let request = r#"{"Method":"GET","Url":"w3bstream://w3bstream.com/system/hello"}"#;
        let mut host = Host::new().api(request, r#"{"StatusCode":200}"#);
        let outcome = host.deliver(
            |_| {
                assert_eq!(super::call(request)?, r#"{"StatusCode":200}"#);
                super::call("{}").map(drop)
            },
            "e",
            b"",
        );
        assert_eq!(outcome.code, crate::Error::HOST);
        assert_eq!(outcome.logs[0].text, "ws_api_call answered 7");
    }
}
