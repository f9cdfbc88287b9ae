//! JSON whose exact bytes count: those that a client has signed.

use serde::de::IgnoredAny;
use w3bstream_types::Malformed;

/// The members of a JSON object with their values as they were sent.
///
/// # Errors
/// [`Malformed`] if the text is no JSON object or has a name twice.
pub(crate) fn members(text: &str) -> Result<Vec<(String, &str)>, Malformed> {
    let bad = |why: &str| Malformed::new("body", why.to_owned());
    // From here on the text is known to be whole.
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text)
        .map_err(|e| Malformed::new("body", format!("must be a JSON object: {e}")))?;
    let mut rest = text.trim_start().strip_prefix('{').unwrap_or_default().trim_start();
    let mut members: Vec<(String, &str)> = Vec::new();
    while !rest.starts_with('}') {
        let (raw, behind) = value(rest).ok_or_else(|| bad("cannot be read"))?;
        let name: String = serde_json::from_str(raw).map_err(|_| bad("has a name that is no text"))?;
        let behind = behind.trim_start().strip_prefix(':').ok_or_else(|| bad("cannot be read"))?;
        let (raw, behind) = value(behind.trim_start()).ok_or_else(|| bad("cannot be read"))?;
        if members.iter().any(|(known, _)| *known == name) {
            return Err(bad("has a name twice"));
        }
        members.push((name, raw));
        let behind = behind.trim_start();
        rest = behind.strip_prefix(',').unwrap_or(behind).trim_start();
        if rest.is_empty() {
            return Err(bad("cannot be read"));
        }
    }
    Ok(members)
}

/// The first JSON value of a text, and what is behind it.
fn value(text: &str) -> Option<(&str, &str)> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    text.split_at_checked(values.byte_offset())
}

/// JSON without blanks outside of texts and with `<`, `>`, `&`, U+2028 and U+2029 escaped: how Go's encoder writes a value
/// that it was given as text.
pub(crate) fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut inside, mut escaped) = (false, false);
    for c in json.chars() {
        match c {
            ' ' | '\t' | '\n' | '\r' if !inside => continue,
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
        (inside, escaped) = match c {
            '"' if !escaped => (!inside, false),
            '\\' if inside && !escaped => (inside, true),
            _ => (inside, false),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_as_they_were_sent() {
        let found = members(" { \"a\" : {\"x\" : [1 , 2.50]} , \"b\\n\":\"q\\\"}\",\"c\":1e3}").unwrap();
        let expected = [("a", "{\"x\" : [1 , 2.50]}"), ("b\n", "\"q\\\"}\""), ("c", "1e3")];
        assert_eq!(found, expected.map(|(name, raw)| (name.to_owned(), raw)));
        assert!(members("{}").unwrap().is_empty());
        for bad in ["", "[]", "{\"a\":1,\"a\":2}", "{\"a\":1", "{\"a\" 1}", "{\"a\":1}}"] {
            members(bad).unwrap_err();
        }
    }

    #[test]
    fn compact_text_is_as_go_writes_it() {
        assert_eq!(
            compact("{ \"a b\" :\t[1,\n 2], \"c\": \"<&>\\\" x\" }"),
            r#"{"a b":[1,2],"c":"\u003c\u0026\u003e\" x"}"#
        );
    }
}
