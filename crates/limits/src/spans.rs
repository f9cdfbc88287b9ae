//! Waits as they may be set.

use std::time::Duration;

/// The longest wait that a limit may be.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Checks waits by their names: those of `positive` are more than nothing, and all at most a day.
///
/// # Errors
/// What is wrong with the first that is, in words that begin with its name.
pub fn check_spans(positive: &[(&str, Duration)], may_be_zero: &[(&str, Duration)]) -> Result<(), String> {
    if let Some((name, _)) = positive.iter().find(|(_, v)| v.is_zero() || *v > LONGEST) {
        return Err(format!("{name} must be more than nothing and at most a day"));
    }
    match may_be_zero.iter().find(|(_, v)| *v > LONGEST) {
        Some((name, _)) => Err(format!("{name} must be at most a day")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_wait_is_named() {
        let (none, some) = (Duration::ZERO, Duration::from_secs(1));
        check_spans(&[("a", some), ("b", LONGEST)], &[("c", none)]).unwrap();
        assert!(check_spans(&[("a", some), ("b", none)], &[]).unwrap_err().starts_with("b "));
        assert!(check_spans(&[("a", Duration::MAX)], &[]).unwrap_err().starts_with("a "));
        assert!(check_spans(&[], &[("c", Duration::MAX)]).unwrap_err().starts_with("c "));
    }
}
