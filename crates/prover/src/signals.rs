//! Named numbers of a circuit.

use std::fmt;

use crate::{Error, ErrorKind, Scalar};

/// The most numbers in one list of signals.
pub const MAX_VALUES: usize = 1 << 20;

/// The longest name of a signal, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// An input of a circuit: one number, or the numbers of an array in the order that circom keeps them.
#[derive(Clone, PartialEq, Eq)]
pub struct Signal {
    /// Its name in the circuit.
    pub name: String,
    /// Its numbers.
    pub values: Vec<Scalar>,
}

/// Inputs of a circuit, in the order in which it declares them, each name once. `Debug` shows names and counts.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Signals {
    list: Vec<Signal>,
    values: usize,
}

impl Signals {
    /// Adds an input.
    ///
    /// # Errors
    /// [`ErrorKind::BadInput`] for a name that is none or stands here already, or no values;
    /// [`ErrorKind::TooLarge`] over [`MAX_VALUES`].
    pub fn push(&mut self, name: &str, values: Vec<Scalar>) -> Result<(), Error> {
        check_name(name)?;
        if self.get(name).is_some() {
            return Err(Error::new(ErrorKind::BadInput, format!("signal {name} stands here twice")));
        }
        if values.is_empty() {
            return Err(Error::new(ErrorKind::BadInput, format!("signal {name} has no values")));
        }
        self.values = self.values.saturating_add(values.len());
        if self.values > MAX_VALUES {
            return Err(Error::new(ErrorKind::TooLarge, format!("signals have more than {MAX_VALUES} values")));
        }
        self.list.push(Signal { name: name.to_owned(), values });
        Ok(())
    }

    /// The inputs, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Signal> {
        self.list.iter()
    }

    /// The values of the input of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[Scalar]> {
        self.list.iter().find(|s| s.name == name).map(|s| s.values.as_slice())
    }

    /// All numbers, in order: the public inputs as a verifier takes them.
    #[must_use]
    pub fn values(&self) -> Vec<Scalar> {
        self.list.iter().flat_map(|s| s.values.iter().copied()).collect()
    }

    /// How many numbers these are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.values
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.values == 0
    }
}

/// Names are those of circom and Solidity: a letter, then letters, digits and '_'.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    if !first || name.len() > MAX_NAME_BYTES || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        let what = format!("a signal's name must be a letter and up to {} letters, digits or '_'", MAX_NAME_BYTES - 1);
        return Err(Error::new(ErrorKind::BadInput, what));
    }
    Ok(())
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.list.iter().map(|s| (&s.name, s.values.len()))).finish()
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.name, self.values.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(n: u128) -> Scalar {
        Scalar::from_u128(n)
    }

    #[test]
    fn order_is_kept_and_values_are_hidden() {
        let mut signals = Signals::default();
        assert!(signals.is_empty());
        signals.push("z", vec![number(987_654)]).unwrap();
        signals.push("a", vec![number(2), number(3)]).unwrap();
        assert_eq!(signals.values(), [number(987_654), number(2), number(3)]);
        assert_eq!((signals.len(), signals.get("a").unwrap().len(), signals.get("b")), (3, 2, None));
        let shown = format!("{signals:?} {:?}", signals.iter().next().unwrap());
        assert!(shown.contains("\"a\": 2") && !shown.contains("987654"), "{shown}");
    }

    #[test]
    fn what_is_no_list_of_inputs_is_refused() {
        let mut signals = Signals::default();
        signals.push("a", vec![number(1)]).unwrap();
        for (name, values) in [("a", 1), ("b", 0), ("", 1), ("1a", 1), ("_a", 1), ("a b", 1), ("ä", 1)] {
            let error = signals.push(name, vec![number(1); values]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BadInput, "{name}");
        }
        assert!(signals.push(&"a".repeat(65), vec![number(1)]).is_err());
        let error = signals.push("big", vec![number(1); MAX_VALUES]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }
}
