//! The writer.

use alloc::string::String;

/// Builds one JSON object, field by field.
#[derive(Clone, Debug)]
pub struct Writer {
    text: String,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// An object without fields.
    #[must_use]
    pub fn new() -> Self {
        Self { text: String::from("{") }
    }

    /// Adds a whole number.
    #[must_use]
    pub fn i64(mut self, name: &str, value: i64) -> Self {
        self.name(name);
        push_i64(&mut self.text, value);
        self
    }

    /// Adds a text.
    #[must_use]
    pub fn str(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        push_text(&mut self.text, value);
        self
    }

    /// Adds `true` or `false`.
    #[must_use]
    pub fn bool(mut self, name: &str, value: bool) -> Self {
        self.name(name);
        self.text.push_str(if value { "true" } else { "false" });
        self
    }

    /// The object's text.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.text.push('}');
        self.text
    }

    fn name(&mut self, name: &str) {
        if self.text.len() > 1 {
            self.text.push(',');
        }
        push_text(&mut self.text, name);
        self.text.push(':');
    }
}

/// Adds a number in decimal. `core::fmt` would do it too, with some kilobytes more code in the module.
pub(crate) fn push_i64(text: &mut String, value: i64) {
    if value < 0 {
        text.push('-');
    }
    let mut rest = value.unsigned_abs();
    let mut unit = 1;
    while rest / unit >= 10 {
        unit *= 10;
    }
    while unit > 0 {
        // One digit, so no bit is lost.
        text.push(char::from(b'0' + (rest / unit) as u8));
        rest %= unit;
        unit /= 10;
    }
}

pub(crate) fn push_text(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c if u32::from(c) < 0x20 => {
                text.push_str("\\u00");
                for nibble in [u32::from(c) >> 4, u32::from(c) & 15] {
                    text.push(char::from_digit(nibble, 16).unwrap_or('0'));
                }
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_object_is_an_object() {
        assert_eq!(Writer::new().finish(), "{}");
    }

    proptest! {
        #[test]
        fn serde_json_reads_it_back(name in any::<String>(), text in any::<String>(), n in any::<i64>(), b in any::<bool>()) {
            let names = [alloc::format!("1{name}"), alloc::format!("2{name}"), alloc::format!("3{name}")];
            let written = Writer::new().str(&names[0], &text).i64(&names[1], n).bool(&names[2], b).finish();
            let read: serde_json::Value = serde_json::from_str(&written).unwrap();
            prop_assert_eq!(&read[&names[0]], &serde_json::Value::from(text));
            prop_assert_eq!(&read[&names[1]], &serde_json::Value::from(n));
            prop_assert_eq!(&read[&names[2]], &serde_json::Value::from(b));
        }

        #[test]
        fn numbers_are_written_as_the_standard_library_writes_them(n in any::<i64>()) {
            for n in [n, 0, i64::MIN, i64::MAX, n % 10, n % 1000] {
                let mut text = String::new();
                push_i64(&mut text, n);
                prop_assert_eq!(text, alloc::format!("{}", n));
            }
        }
    }
}
