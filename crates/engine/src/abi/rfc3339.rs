//! Times as RFC 3339 writes them.

/// Microseconds since the epoch; smaller parts are cut. `None` if the text is no time. A leap second is the next one's
/// first moment, as in POSIX.
pub(super) fn microseconds(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |from: usize, len: usize| -> Option<i64> {
        let digits = bytes.get(from..from + len)?;
        digits
            .iter()
            .all(u8::is_ascii_digit)
            .then(|| digits.iter().fold(0, |v, d| v * 10 + i64::from(d - b'0')))
    };
    let sign = |at: usize, signs: &[u8]| bytes.get(at).filter(|b| signs.contains(b)).copied();
    sign(4, b"-").and(sign(7, b"-")).and(sign(10, b"Tt ")).and(sign(13, b":")).and(sign(16, b":"))?;
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    if !(1..=12).contains(&month)
        || day < 1
        || day > days_in(year, month)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let mut at = 19;
    let mut micros = 0;
    if bytes.get(at) == Some(&b'.') {
        let digits = bytes.get(at + 1..)?.iter().take_while(|b| b.is_ascii_digit()).count();
        micros = (0..6).fold(0, |v, place| {
            v * 10 + if place < digits { number(at + 1 + place, 1).unwrap_or(0) } else { 0 }
        });
        if digits == 0 {
            return None;
        }
        at += 1 + digits;
    }
    let (offset, end) = match sign(at, b"Zz+-")? {
        b'Z' | b'z' => (0, at + 1),
        direction => {
            let (hours, minutes) = (number(at + 1, 2)?, number(at + 4, 2)?);
            sign(at + 3, b":").filter(|_| hours < 24 && minutes < 60)?;
            let offset = hours * 3_600 + minutes * 60;
            (if direction == b'+' { offset } else { -offset }, at + 6)
        }
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset;
    (end == bytes.len()).then(|| seconds * 1_000_000 + micros)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, wanted) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2023-11-14T22:13:20Z", 1_700_000_000_000_000),
            ("2023-11-14T23:13:20.123456789+01:00", 1_700_000_000_123_456),
            ("2023-11-14t22:13:20.5z", 1_700_000_000_500_000),
            ("2000-02-29T00:00:00-00:30", 951_784_200_000_000),
            ("1969-12-31T23:59:59.9Z", -100_000),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000_000),
            ("9999-12-31T23:59:60Z", 253_402_300_800_000_000),
        ] {
            assert_eq!(microseconds(text), Some(wanted), "{text}");
        }
        for text in [
            "",
            "2023-11-14",
            "2023-11-14T22:13:20",
            "2023-13-14T22:13:20Z",
            "2023-02-29T22:13:20Z",
            "1900-02-29T00:00:00Z",
            "2023-11-00T22:13:20Z",
            "2023-11-14T24:13:20Z",
            "2023-11-14T22:60:20Z",
            "2023-11-14T22:13:61Z",
            "2023-11-14T22:13:20.Z",
            "2023-11-14T22:13:20+0100",
            "2023-11-14T22:13:20+24:00",
            "2023-11-14T22:13:20Zx",
            "2023-11-14T22:13:2éZ",
            "+023-11-14T22:13:20Z",
        ] {
            assert_eq!(microseconds(text), None, "{text}");
        }
    }
}
