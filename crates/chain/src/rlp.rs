//! Recursive length prefix encoding (Ethereum Yellow Paper, appendix B): as much of it as transactions, receipts and
//! tries need.

use w3bstream_types::Malformed;

/// Builds the encoding of one item.
#[derive(Debug, Default)]
pub struct Rlp(Vec<u8>);

impl Rlp {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a string of bytes.
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        match bytes {
            [one] if *one < 0x80 => self.0.push(*one),
            _ => {
                self.header(0x80, bytes.len());
                self.0.extend_from_slice(bytes);
            }
        }
        self
    }

    /// Adds an integer: big-endian without leading zeros, zero as the empty string.
    pub fn uint(self, v: u128) -> Self {
        let skip = v.leading_zeros() as usize / 8;
        let bytes = v.to_be_bytes();
        self.bytes(bytes.get(skip..).unwrap_or_default())
    }

    /// Adds a list of what `items` holds.
    pub fn list(mut self, items: &Self) -> Self {
        self.header(0xc0, items.0.len());
        self.0.extend_from_slice(&items.0);
        self
    }

    /// Adds what is encoded already.
    pub(crate) fn raw(mut self, encoded: &[u8]) -> Self {
        self.0.extend_from_slice(encoded);
        self
    }

    /// The items one after the other.
    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }

    /// The items as one list.
    pub fn into_list(self) -> Vec<u8> {
        Self::new().list(&self).0
    }

    fn header(&mut self, base: u8, len: usize) {
        if len < 56 {
            // At most 0xc0 + 55.
            self.0.push(base + len as u8);
        } else {
            let be = (len as u64).to_be_bytes();
            let skip = be.iter().take_while(|b| **b == 0).count();
            self.0.push(base + 55 + (be.len() - skip) as u8);
            self.0.extend(be.into_iter().skip(skip));
        }
    }
}

/// One decoded item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    /// A string's bytes.
    Bytes(&'a [u8]),
    /// What a list holds, still encoded.
    List(&'a [u8]),
}

/// Takes the first item off `input`.
///
/// # Errors
/// [`Malformed`] if it is cut off or not in its shortest form.
pub(crate) fn take<'a>(input: &mut &'a [u8]) -> Result<Item<'a>, Malformed> {
    let bad = |why: &'static str| Malformed::new("rlp", why);
    let (first, rest) = input.split_first().ok_or_else(|| bad("is empty"))?;
    let (list, len, rest) = match *first {
        0..0x80 => {
            let (one, rest) = input.split_at(1);
            *input = rest;
            return Ok(Item::Bytes(one));
        }
        b @ 0x80..=0xb7 => (false, usize::from(b - 0x80), rest),
        b @ 0xb8..=0xbf => long(b - 0xb7, rest).map(|(len, rest)| (false, len, rest))?,
        b @ 0xc0..=0xf7 => (true, usize::from(b - 0xc0), rest),
        b => long(b - 0xf7, rest).map(|(len, rest)| (true, len, rest))?,
    };
    let (body, rest) = rest.split_at_checked(len).ok_or_else(|| bad("is cut off"))?;
    if !list && matches!(body, [one] if *one < 0x80) {
        return Err(bad("has a byte that is not in its shortest form"));
    }
    *input = rest;
    Ok(if list { Item::List(body) } else { Item::Bytes(body) })
}

fn long(size: u8, rest: &[u8]) -> Result<(usize, &[u8]), Malformed> {
    let bad = |why: &'static str| Malformed::new("rlp", why);
    let (be, rest) = rest.split_at_checked(size.into()).ok_or_else(|| bad("is cut off"))?;
    let len = be.iter().try_fold(0usize, |n, b| n.checked_mul(256)?.checked_add((*b).into()));
    match (be.first(), len) {
        (Some(first), Some(len)) if *first != 0 && len > 55 => Ok((len, rest)),
        _ => Err(bad("has a length that is not in its shortest form")),
    }
}

/// All items of a list's body.
///
/// # Errors
/// As [`take`].
pub(crate) fn items(mut body: &[u8]) -> Result<Vec<Item<'_>>, Malformed> {
    let mut out = Vec::new();
    while !body.is_empty() {
        out.push(take(&mut body)?);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_yellow_papers_examples() {
        assert_eq!(Rlp::new().bytes(b"dog").done(), b"\x83dog");
        assert_eq!(Rlp::new().bytes(b"cat").bytes(b"dog").into_list(), b"\xc8\x83cat\x83dog");
        assert_eq!(Rlp::new().bytes(b"").done(), [0x80]);
        assert_eq!(Rlp::new().into_list(), [0xc0]);
        assert_eq!(Rlp::new().uint(0).done(), [0x80]);
        assert_eq!(Rlp::new().uint(15).done(), [0x0f]);
        assert_eq!(Rlp::new().uint(1024).done(), [0x82, 0x04, 0x00]);
        let long = b"Lorem ipsum dolor sit amet, consectetur adipisicing elit";
        assert_eq!(Rlp::new().bytes(long).done()[..2], [0xb8, 0x38]);
    }

    #[test]
    fn what_is_written_is_read() {
        for len in [0, 1, 2, 55, 56, 255, 256, 70_000] {
            let body = vec![7; len];
            let encoded = Rlp::new().bytes(&body).list(&Rlp::new().bytes(&body).uint(5)).done();
            let mut rest = encoded.as_slice();
            assert_eq!(take(&mut rest).unwrap(), Item::Bytes(&body));
            let Item::List(inner) = take(&mut rest).unwrap() else { panic!("no list") };
            assert_eq!(items(inner).unwrap(), [Item::Bytes(&body), Item::Bytes(&[5])]);
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for bad in [&[][..], &[0x81, 0x05], &[0x82, 1], &[0xb8, 5, 1, 1, 1, 1, 1], &[0xb9, 0, 56], &[0xc1]] {
            assert!(take(&mut { bad }).is_err(), "{bad:?}");
        }
        assert!(take(&mut [0xbf; 9].as_slice()).is_err());
    }
}
