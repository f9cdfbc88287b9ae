//! The reader.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use crate::Error;

/// How deeply arrays and objects may be nested below the outer object.
const MAX_DEPTH: usize = 16;

/// A value of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number that fits.
    Int(i64),
    /// Any other number, as it was written.
    Number(&'a str),
    /// A text, its escapes resolved.
    Str(Cow<'a, str>),
    /// An array or an object, as it was written; [`Object::parse`] reads an inner object.
    Nested(&'a str),
}

/// One JSON object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object<'a> {
    fields: Vec<(Cow<'a, str>, Value<'a>)>,
}

impl<'a> Object<'a> {
    /// Reads a whole text that is one object.
    ///
    /// # Errors
    /// [`Error::JSON`] with the byte at which the text stops being one.
    pub fn parse(text: &'a [u8]) -> Result<Self, Error> {
        let text = core::str::from_utf8(text).map_err(|e| bad("no utf-8", e.valid_up_to()))?;
        let mut reader = Reader { text, at: 0 };
        reader.space();
        let mut fields = Vec::new();
        reader.object(|reader, name| {
            if fields.iter().any(|(known, _)| *known == name) {
                return Err(reader.wrong("this name stands twice"));
            }
            let value = reader.value(0)?;
            fields.push((name, value));
            Ok(())
        })?;
        reader.space();
        if reader.at < text.len() { Err(reader.wrong("text after the object")) } else { Ok(Self { fields }) }
    }

    /// The value of a name, or `None` if the object has none of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The names and values, in the order in which they stand.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value<'a>)> {
        self.fields.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// The text of a name.
    ///
    /// # Errors
    /// [`Error::JSON`] naming it, if it is absent or no text.
    pub fn str(&self, name: &str) -> Result<&str, Error> {
        match self.get(name) {
            Some(Value::Str(text)) => Ok(text),
            _ => Err(expected(name, " must be a text")),
        }
    }

    /// The whole number of a name.
    ///
    /// # Errors
    /// [`Error::JSON`] naming it, if it is absent or no whole number of 64 bits.
    pub fn i64(&self, name: &str) -> Result<i64, Error> {
        match self.get(name) {
            Some(Value::Int(value)) => Ok(*value),
            _ => Err(expected(name, " must be a whole number")),
        }
    }
}

fn expected(name: &str, what: &str) -> Error {
    let mut message = String::from(name);
    message.push_str(what);
    Error::new(Error::JSON, message)
}

fn bad(what: &str, at: usize) -> Error {
    let mut message = String::from("not the json that was expected: ");
    message.push_str(what);
    message.push_str(" at byte ");
    super::push_i64(&mut message, i64::try_from(at).unwrap_or(i64::MAX));
    Error::new(Error::JSON, message)
}

/// A place in a text. All offsets stand on character borders, since only ASCII bytes are stepped over singly.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn wrong(&self, what: &str) -> Error {
        bad(what, self.at)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Steps over `byte` if it is next.
    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn word(&mut self, word: &str, value: Value<'a>) -> Result<Value<'a>, Error> {
        if self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            self.at += word.len();
            return Ok(value);
        }
        Err(self.wrong("no value"))
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, Error> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => self.string().map(Value::Str),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'{' | b'[') if depth >= MAX_DEPTH => Err(self.wrong("nested too deeply")),
            Some(b'{') => {
                self.object(|reader, _| reader.value(depth + 1).map(drop))?;
                Ok(Value::Nested(self.since(start)))
            }
            Some(b'[') => {
                self.list(b'[', b']', |reader| reader.value(depth + 1).map(drop))?;
                Ok(Value::Nested(self.since(start)))
            }
            _ => Err(self.wrong("no value")),
        }
    }

    /// Reads `open item, item … close`, with space anywhere between.
    fn list(
        &mut self,
        open: u8,
        close: u8,
        mut item: impl FnMut(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if !self.eat(open) {
            return Err(self.wrong("no object"));
        }
        self.space();
        if self.eat(close) {
            return Ok(());
        }
        loop {
            self.space();
            item(self)?;
            self.space();
            if self.eat(close) {
                return Ok(());
            }
            if !self.eat(b',') {
                return Err(self.wrong("no comma and no end"));
            }
        }
    }

    fn object(
        &mut self,
        mut field: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.list(b'{', b'}', |reader| {
            let name = reader.string()?;
            reader.space();
            if !reader.eat(b':') {
                return Err(reader.wrong("no colon"));
            }
            reader.space();
            field(reader, name)
        })
    }

    fn digits(&mut self) -> Result<(), Error> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.wrong("no digit")) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<Value<'a>, Error> {
        let start = self.at;
        self.eat(b'-');
        // A leading zero stands alone.
        if !self.eat(b'0') {
            self.digits()?;
        }
        let whole = self.since(start);
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _sign = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        let all = self.since(start);
        match whole.parse() {
            // "-0" is a number but no integer that could be written back.
            Ok(value) if all.len() == whole.len() && whole != "-0" => Ok(Value::Int(value)),
            _ => Ok(Value::Number(all)),
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Error> {
        if !self.eat(b'"') {
            return Err(self.wrong("no text"));
        }
        let mut owned: Option<String> = None;
        let mut start = self.at;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let rest = self.since(start);
                    self.at += 1;
                    return Ok(match owned {
                        Some(mut text) => {
                            text.push_str(rest);
                            Cow::Owned(text)
                        }
                        None => Cow::Borrowed(rest),
                    });
                }
                Some(b'\\') => {
                    let text = owned.get_or_insert_default();
                    text.push_str(self.since(start));
                    let escaped = self.escape()?;
                    text.push(escaped);
                    start = self.at;
                }
                Some(0x20..) => self.at += 1,
                _ => return Err(self.wrong("a control character or no end in a text")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Error> {
        self.at += 1;
        let simple = match self.peek() {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.wrong("an unknown escape")),
        };
        self.at += 1;
        Ok(simple)
    }

    /// Four hexadecimal digits after `u`.
    fn unit(&mut self) -> Result<u32, Error> {
        let mut unit = 0;
        if !self.eat(b'u') {
            return Err(self.wrong("half a surrogate pair"));
        }
        for _ in 0..4 {
            let digit = self.peek().and_then(|b| char::from(b).to_digit(16));
            unit = unit * 16 + digit.ok_or_else(|| self.wrong("no hexadecimal digit"))?;
            self.at += 1;
        }
        Ok(unit)
    }

    fn unicode(&mut self) -> Result<char, Error> {
        let first = self.unit()?;
        let code = if (0xd800..0xdc00).contains(&first) {
            if !self.eat(b'\\') {
                return Err(self.wrong("half a surrogate pair"));
            }
            let second = self.unit()?;
            let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400);
            0x10000 + ((first - 0xd800) << 10) + low.ok_or_else(|| self.wrong("half a surrogate pair"))?
        } else {
            first
        };
        char::from_u32(code).ok_or_else(|| self.wrong("half a surrogate pair"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_kind_of_value_is_read() {
        let text = br#" { "n":null,"b" : true, "i":-9223372036854775808,"f":1.5e-3,"s":"a\u00e9\ud83d\ude00\n\"","o":{"x":[1,{}]},"l":[ ] } "#;
        let object = Object::parse(text).unwrap();
        assert_eq!(object.get("n"), Some(&Value::Null));
        assert_eq!(object.get("b"), Some(&Value::Bool(true)));
        assert_eq!(object.i64("i"), Ok(i64::MIN));
        assert_eq!(object.get("f"), Some(&Value::Number("1.5e-3")));
        assert_eq!(object.str("s"), Ok("aé😀\n\""));
        assert_eq!(object.get("o"), Some(&Value::Nested(r#"{"x":[1,{}]}"#)));
        assert_eq!(object.get("l"), Some(&Value::Nested("[ ]")));
        assert_eq!(object.iter().count(), 7);
    }

    #[test]
    fn what_readers_disagree_on_is_refused_with_the_place() {
        for (text, why) in [
            (r#"{"a":1,"a":2}"#, "this name stands twice at byte 11"),
            (r#"{"a":1}x"#, "text after the object at byte 7"),
            (r#"{"a":01}"#, "no comma and no end at byte 6"),
            (r#"{"a":1,}"#, "no text at byte 7"),
            (r#"{"a":"\ud800"}"#, "half a surrogate pair at byte 12"),
            ("{\"a\":\"\n\"}", "a control character or no end in a text at byte 6"),
            (r#"[1]"#, "no object at byte 0"),
            ("", "no object at byte 0"),
        ] {
            let error = Object::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.code(), Error::JSON);
            assert_eq!(error.message(), alloc::format!("not the json that was expected: {why}"), "{text}");
        }
    }

    #[test]
    fn the_depth_is_bounded() {
        let deep = |n: usize| alloc::format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
        assert!(Object::parse(deep(MAX_DEPTH).as_bytes()).is_ok());
        assert!(Object::parse(deep(MAX_DEPTH + 1).as_bytes()).is_err());
    }

    #[test]
    fn a_wrong_field_is_named() {
        let object = Object::parse(br#"{"c":1.5,"d":3}"#).unwrap();
        assert_eq!(object.i64("c").unwrap_err().message(), "c must be a whole number");
        assert_eq!(object.str("d").unwrap_err().message(), "d must be a text");
        assert_eq!(object.i64("absent").unwrap_err().message(), "absent must be a whole number");
    }

    /// Our value as serde_json sees it, for comparison.
    fn reference(value: &Value<'_>) -> serde_json::Value {
        match value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(b) => (*b).into(),
            Value::Int(i) => (*i).into(),
            Value::Str(s) => s.as_ref().into(),
            Value::Number(text) | Value::Nested(text) => serde_json::from_str(text).unwrap(),
        }
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<u64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                proptest::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_reads_what_serde_json_writes(
            fields in proptest::collection::btree_map(any::<String>(), any_json(), 0..6),
            pretty in any::<bool>(),
        ) {
            let wanted: serde_json::Map<_, _> = fields.into_iter().collect();
            let text = if pretty { serde_json::to_string_pretty(&wanted) } else { serde_json::to_string(&wanted) };
            let text = text.unwrap();
            let object = Object::parse(text.as_bytes()).unwrap();
            let got: serde_json::Map<_, _> = object.iter().map(|(k, v)| (k.to_owned(), reference(v))).collect();
            prop_assert_eq!(got, wanted);
        }

        #[test]
        fn it_accepts_nothing_that_serde_json_refuses(text in r#"\{("a":[-0-9.eE]{0,6}|"[a\\u"]{0,4}":|[\[\]{},:" 0tn]){0,6}\}"#) {
            if Object::parse(text.as_bytes()).is_ok() {
                let other: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_str(&text);
                // It is JSON; serde_json has no number for it, and this reader makes none of it.
                let too_large = |e: &serde_json::Error| e.to_string().contains("number out of range");
                prop_assert!(other.as_ref().err().is_none_or(too_large), "{}", text);
            }
        }

        #[test]
        fn a_number_beyond_every_float_is_still_a_number(exponent in 309..100_000_u32) {
            let text = format!("{{\"a\":1E{exponent}}}");
            prop_assert!(Object::parse(text.as_bytes()).is_ok());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Object::parse(&bytes);
        }
    }
}
