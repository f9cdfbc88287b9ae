//! The canonical encoding: deterministic CBOR (RFC 8949 §4.2.1) in fixed-order arrays.
//!
//! Every value is an array `[domain, version, field, …]`. There are no maps, no floats, no tags and no
//! indefinite lengths, so a value has exactly one encoding. [`Canonical::from_canonical`] encodes what it
//! has read once more and compares, so bytes that are not canonical are refused, whatever the reason.

use minicbor::data::Type;

use crate::{Digest, Malformed};

/// The largest canonical value that is read, in bytes. Everything bigger is refused before it is parsed.
pub const MAX_CANONICAL_BYTES: usize = 16 * 1024 * 1024;

/// A type with one canonical encoding.
pub trait Canonical: Sized {
    /// Names the type in its bytes, so that two types never share an encoding.
    const DOMAIN: &'static str;
    /// Version of the field list. A reader refuses any other.
    const VERSION: u16;
    /// Number of fields after domain and version.
    const FIELDS: u64;

    /// Writes exactly [`Self::FIELDS`] items.
    fn encode_fields(&self, e: &mut Encoder);

    /// Reads exactly [`Self::FIELDS`] items.
    ///
    /// # Errors
    /// [`Malformed`] with what was expected.
    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed>;

    /// The canonical bytes.
    fn to_canonical(&self) -> Vec<u8> {
        let mut e = Encoder::new();
        e.item(self);
        e.into_bytes()
    }

    /// Reads canonical bytes and nothing else: trailing bytes, longer forms of a number and unknown
    /// versions are refused.
    ///
    /// # Errors
    /// [`Malformed`] naming this type and what is wrong.
    fn from_canonical(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_CANONICAL_BYTES {
            return Err(Malformed::new(Self::DOMAIN, "is larger than 16 MiB"));
        }
        let mut d = Decoder::new(bytes);
        let value: Self = d.item()?;
        if value.to_canonical() != bytes {
            return Err(Malformed::new(Self::DOMAIN, "is not in canonical form"));
        }
        Ok(value)
    }

    /// SHA-256 of the canonical bytes.
    fn digest(&self) -> Digest {
        Digest::of(&self.to_canonical())
    }
}

/// Writes canonical items.
#[derive(Debug)]
pub struct Encoder(minicbor::Encoder<Vec<u8>>);

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// An empty encoder.
    #[must_use]
    pub fn new() -> Self {
        Self(minicbor::Encoder::new(Vec::new()))
    }

    /// What was written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_writer()
    }

    // Writing to a `Vec` cannot fail: minicbor's error type for it is `Infallible`.
    fn put<T>(result: Result<T, minicbor::encode::Error<core::convert::Infallible>>) {
        debug_assert!(result.is_ok(), "writing to memory does not fail");
    }

    /// An unsigned number.
    pub fn u64(&mut self, v: u64) -> &mut Self {
        Self::put(self.0.u64(v));
        self
    }

    /// A signed number.
    pub fn i64(&mut self, v: i64) -> &mut Self {
        Self::put(self.0.i64(v));
        self
    }

    /// A truth value.
    pub fn bool(&mut self, v: bool) -> &mut Self {
        Self::put(self.0.bool(v));
        self
    }

    /// Bytes.
    pub fn bytes(&mut self, v: &[u8]) -> &mut Self {
        Self::put(self.0.bytes(v));
        self
    }

    /// Text.
    pub fn text(&mut self, v: &str) -> &mut Self {
        Self::put(self.0.str(v));
        self
    }

    /// A digest, as 32 bytes.
    pub fn digest(&mut self, v: &Digest) -> &mut Self {
        self.bytes(v.as_bytes())
    }

    /// `null` or what `write` writes.
    pub fn option<T>(&mut self, v: Option<&T>, write: impl FnOnce(&mut Self, &T)) -> &mut Self {
        match v {
            None => Self::put(self.0.null()),
            Some(v) => write(self, v),
        }
        self
    }

    /// The head of an array; exactly `n` items must follow.
    pub fn array(&mut self, n: u64) -> &mut Self {
        Self::put(self.0.array(n));
        self
    }

    /// A list: its length, then each item.
    pub fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) -> &mut Self {
        Self::put(self.0.array(items.len() as u64));
        for item in items {
            write(self, item);
        }
        self
    }

    /// A value with its own domain and version.
    pub fn item<T: Canonical>(&mut self, v: &T) -> &mut Self {
        Self::put(self.0.array(T::FIELDS + 2));
        self.text(T::DOMAIN).u64(u64::from(T::VERSION));
        v.encode_fields(self);
        self
    }
}

/// Reads canonical items.
#[derive(Debug)]
pub struct Decoder<'b> {
    inner: minicbor::Decoder<'b>,
    what: &'static str,
    depth: u8,
}

impl<'b> Decoder<'b> {
    /// Reads from `bytes`.
    #[must_use]
    pub fn new(bytes: &'b [u8]) -> Self {
        Self { inner: minicbor::Decoder::new(bytes), what: "canonical value", depth: 0 }
    }

    fn bad(&self, expected: &str) -> Malformed {
        Malformed::new(self.what, format!("expected {expected} at byte {}", self.inner.position()))
    }

    /// An unsigned number.
    ///
    /// # Errors
    /// [`Malformed`] if the next item is anything else.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.inner.u64().map_err(|_| self.bad("an unsigned number"))
    }

    /// An unsigned number of 32 bits.
    ///
    /// # Errors
    /// [`Malformed`] if the next item is anything else.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.inner.u32().map_err(|_| self.bad("a number below 2^32"))
    }

    /// A signed number.
    ///
    /// # Errors
    /// [`Malformed`] if the next item is anything else.
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        self.inner.i64().map_err(|_| self.bad("a number"))
    }

    /// A truth value.
    ///
    /// # Errors
    /// [`Malformed`] if the next item is anything else.
    pub fn bool(&mut self) -> Result<bool, Malformed> {
        self.inner.bool().map_err(|_| self.bad("true or false"))
    }

    /// Bytes.
    ///
    /// # Errors
    /// [`Malformed`] if the next item is anything else.
    pub fn bytes(&mut self) -> Result<&'b [u8], Malformed> {
        self.inner.bytes().map_err(|_| self.bad("bytes"))
    }

    /// Text.
    ///
    /// # Errors
    /// [`Malformed`] if the next item is anything else.
    pub fn text(&mut self) -> Result<&'b str, Malformed> {
        self.inner.str().map_err(|_| self.bad("text"))
    }

    /// Text of a type that checks it.
    ///
    /// # Errors
    /// [`Malformed`] if the next item is no text or not this type's.
    pub fn parse<T: std::str::FromStr<Err = Malformed>>(&mut self) -> Result<T, Malformed> {
        self.text()?.parse()
    }

    /// A digest.
    ///
    /// # Errors
    /// [`Malformed`] if the next item is not 32 bytes.
    pub fn digest(&mut self) -> Result<Digest, Malformed> {
        Digest::from_slice(self.bytes()?)
    }

    /// Bytes of a fixed length.
    ///
    /// # Errors
    /// [`Malformed`] if the next item has another length.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.bytes()?.try_into().map_err(|_| self.bad(&format!("{N} bytes")))
    }

    /// `None` for `null`, else what `read` reads.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if matches!(self.inner.datatype(), Ok(Type::Null)) {
            self.inner.null().map_err(|_| self.bad("null"))?;
            return Ok(None);
        }
        read(self).map(Some)
    }

    /// A list.
    ///
    /// # Errors
    /// [`Malformed`] if the next item is no list, and those of `read`.
    pub fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let n = self.inner.array().ok().flatten().ok_or_else(|| self.bad("a list"))?;
        // The claimed length is not trusted: memory grows only with what is really there.
        let mut items = Vec::new();
        for _ in 0..n {
            items.push(read(self)?);
        }
        Ok(items)
    }

    /// The head of an array: how many items follow.
    ///
    /// # Errors
    /// [`Malformed`] if the next item is no array, or one of indefinite length.
    pub fn head(&mut self) -> Result<u64, Malformed> {
        self.inner.array().ok().flatten().ok_or_else(|| self.bad("an array"))
    }

    /// A value with its own domain and version.
    ///
    /// # Errors
    /// [`Malformed`] for another type, version, number of fields, or nesting deeper than 16.
    pub fn item<T: Canonical>(&mut self) -> Result<T, Malformed> {
        let outer = std::mem::replace(&mut self.what, T::DOMAIN);
        if self.depth >= 16 {
            return Err(self.bad("less nesting"));
        }
        self.depth += 1;
        let fields = self.inner.array().ok().flatten();
        if fields != Some(T::FIELDS + 2) {
            return Err(self.bad(&format!("an array of {} items", T::FIELDS + 2)));
        }
        if self.text()? != T::DOMAIN {
            return Err(self.bad(&format!("the domain {:?}", T::DOMAIN)));
        }
        if self.u64()? != u64::from(T::VERSION) {
            return Err(self.bad(&format!("version {}", T::VERSION)));
        }
        let value = T::decode_fields(self)?;
        self.depth -= 1;
        self.what = outer;
        Ok(value)
    }

    /// True when all bytes were read.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.inner.position() == self.inner.input().len()
    }
}
