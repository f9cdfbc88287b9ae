//! snarkjs's proving keys.
//!
//! The format is that of iden3's [binary files](https://github.com/iden3/binfileutils): a magic word, a version, a count
//! of sections, and each section with type and length; all numbers are little-endian. A Groth16 key has the sections 1 to
//! 10, of which the last, the ceremony's history, is not needed to prove.

use ark_bn254::{Fq, G1Affine, G2Affine};
use ark_ec::AffineRepr as _;
use ark_ff::{BigInteger as _, PrimeField as _};
use w3bstream_prover::{Error, ErrorKind, MAX_PUBLIC};

use crate::VerifyingKey;
use crate::points::{G1_BYTES, G2_BYTES, key_g1, key_g2, twice_montgomery_fr};
use crate::qap::Coefficient;

/// The most constraints, as a power of two: what BN254's field has roots of unity for, and one less for the coset.
const MAX_DOMAIN: u32 = 1 << 27;
/// Bytes of an entry of a matrix: matrix, constraint and signal, and the value.
const COEFFICIENT_BYTES: usize = 44;

/// What proofs are made with. All of it has been checked.
#[derive(Debug)]
pub struct ProvingKey {
    pub(crate) verifying: VerifyingKey,
    pub(crate) beta1: G1Affine,
    pub(crate) delta1: G1Affine,
    pub(crate) coefficients_a: Vec<Coefficient>,
    pub(crate) coefficients_b: Vec<Coefficient>,
    /// One point for each signal of the witness.
    pub(crate) a: Vec<G1Affine>,
    pub(crate) b1: Vec<G1Affine>,
    pub(crate) b2: Vec<G2Affine>,
    /// One for each signal that is neither 1 nor public.
    pub(crate) c: Vec<G1Affine>,
    /// One for each element of the domain.
    pub(crate) h: Vec<G1Affine>,
}

impl ProvingKey {
    /// Reads a key and checks all of it.
    ///
    /// # Errors
    /// [`ErrorKind::Artefact`] saying what is wrong.
    pub fn read(zkey: &[u8]) -> Result<Self, Error> {
        let sections = Sections::read(zkey)?;
        let header = Header::read(&sections)?;
        let verifying = header.verifying(&sections)?;
        let [coefficients_a, coefficients_b] = coefficients(sections.get(4)?, &header)?;
        let Some(private) = header.signals.checked_sub(header.public + 1) else {
            return bad("has more public numbers than signals");
        };
        Ok(Self {
            verifying,
            beta1: header.beta1,
            delta1: header.delta1,
            coefficients_a,
            coefficients_b,
            a: g1s(sections.get(5)?, header.signals, 5)?,
            b1: g1s(sections.get(6)?, header.signals, 6)?,
            b2: g2s(sections.get(7)?, header.signals, 7)?,
            c: g1s(sections.get(8)?, private, 8)?,
            h: g1s(sections.get(9)?, header.domain, 9)?,
        })
    }

    /// What checks the proofs.
    #[must_use]
    pub const fn verifying(&self) -> &VerifyingKey {
        &self.verifying
    }

    /// How many signals a witness has.
    #[must_use]
    pub const fn signals(&self) -> usize {
        self.a.len()
    }
}

impl VerifyingKey {
    /// Reads the part of a proving key that checks proofs, and checks that part.
    ///
    /// # Errors
    /// [`ErrorKind::Artefact`] saying what is wrong.
    pub fn read(zkey: &[u8]) -> Result<Self, Error> {
        let sections = Sections::read(zkey)?;
        Header::read(&sections)?.verifying(&sections)
    }
}

fn bad<T>(why: impl std::fmt::Display) -> Result<T, Error> {
    Err(Error::new(ErrorKind::Artefact, format!("the proving key {why}")))
}

/// Reads from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, n: usize) -> Result<&'a [u8], Error> {
        let Some((bytes, rest)) = self.0.split_at_checked(n) else { return bad("is cut off") };
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], Error> {
        let Some((bytes, rest)) = self.0.split_first_chunk() else { return bad("is cut off") };
        self.0 = rest;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn size(&mut self) -> Result<usize, Error> {
        // No target has a smaller usize than u32.
        self.u32().map(|n| usize::try_from(n).unwrap_or(usize::MAX))
    }

    fn g1(&mut self, what: &str) -> Result<G1Affine, Error> {
        match key_g1(self.array()?) {
            Some(point) if !point.is_zero() => Ok(point),
            _ => bad(format!("has no point of G1 for {what}")),
        }
    }

    fn g2(&mut self, what: &str) -> Result<G2Affine, Error> {
        match key_g2(self.array()?) {
            Some(point) if !point.is_zero() => Ok(point),
            _ => bad(format!("has no point of G2 for {what}")),
        }
    }

    fn end(&self, what: &str) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { bad(format!("has {} bytes too many in {what}", self.0.len())) }
    }
}

/// The sections, by their type less one.
struct Sections<'a>([&'a [u8]; 10]);

impl<'a> Sections<'a> {
    fn read(zkey: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader(zkey);
        if reader.bytes(4)? != b"zkey" {
            return bad("does not begin with \"zkey\"");
        }
        let (version, count) = (reader.u32()?, reader.u32()?);
        if (version, count) != (1, 10) {
            return bad(format!(
                "has version {version} and {count} sections; only version 1 with 10 is known"
            ));
        }
        let mut sections = [None; 10];
        for _ in 0..count {
            let kind = reader.size()?;
            let length = usize::try_from(u64::from_le_bytes(*reader.array()?)).unwrap_or(usize::MAX);
            let body = reader.bytes(length)?;
            match kind.checked_sub(1).and_then(|i| sections.get_mut(i)) {
                Some(place @ None) => *place = Some(body),
                _ => return bad(format!("has section {kind} twice, or there is no such section")),
            }
        }
        reader.end("the file")?;
        // Ten different ones of ten: none is missing.
        Ok(Self(sections.map(Option::unwrap_or_default)))
    }

    fn get(&self, kind: usize) -> Result<&'a [u8], Error> {
        match kind.checked_sub(1).and_then(|i| self.0.get(i)) {
            Some(body) => Ok(body),
            None => bad(format!("has no section {kind}")),
        }
    }
}

/// Sections 1 and 2.
struct Header {
    signals: usize,
    public: usize,
    domain: usize,
    alpha1: G1Affine,
    beta1: G1Affine,
    beta2: G2Affine,
    gamma2: G2Affine,
    delta1: G1Affine,
    delta2: G2Affine,
}

impl Header {
    fn read(sections: &Sections<'_>) -> Result<Self, Error> {
        if sections.get(1)? != 1u32.to_le_bytes() {
            return bad("is not for Groth16");
        }
        let mut reader = Reader(sections.get(2)?);
        for (name, modulus) in
            [("coordinates", Fq::MODULUS.to_bytes_le()), ("numbers", ark_bn254::Fr::MODULUS.to_bytes_le())]
        {
            if reader.size()? != modulus.len() || reader.bytes(modulus.len())? != modulus {
                return bad(format!("has {name} of another field than BN254's"));
            }
        }
        let (signals, public, domain) = (reader.size()?, reader.size()?, reader.u32()?);
        if !domain.is_power_of_two() || domain > MAX_DOMAIN {
            return bad(format!("has a domain of {domain}, which is no power of two up to 2^27"));
        }
        if public > MAX_PUBLIC || public >= signals {
            return bad(format!(
                "has {public} public numbers of {signals} signals; the most are {MAX_PUBLIC}"
            ));
        }
        let header = Self {
            signals,
            public,
            domain: usize::try_from(domain).unwrap_or(usize::MAX),
            alpha1: reader.g1("alpha")?,
            beta1: reader.g1("beta")?,
            beta2: reader.g2("beta")?,
            gamma2: reader.g2("gamma")?,
            delta1: reader.g1("delta")?,
            delta2: reader.g2("delta")?,
        };
        reader.end("section 2")?;
        Ok(header)
    }

    fn verifying(&self, sections: &Sections<'_>) -> Result<VerifyingKey, Error> {
        Ok(VerifyingKey {
            alpha1: self.alpha1,
            beta2: self.beta2,
            gamma2: self.gamma2,
            delta2: self.delta2,
            ic: g1s(sections.get(3)?, self.public + 1, 3)?,
        })
    }
}

/// The chunks of a section that must have `count` of them.
fn chunks<const N: usize>(body: &[u8], count: usize, kind: usize) -> Result<&[[u8; N]], Error> {
    let (chunks, rest) = body.as_chunks::<N>();
    if chunks.len() != count || !rest.is_empty() {
        return bad(format!("has {} bytes in section {kind} instead of {count} times {N}", body.len()));
    }
    Ok(chunks)
}

fn g1s(body: &[u8], count: usize, kind: usize) -> Result<Vec<G1Affine>, Error> {
    let points: Option<Vec<_>> = chunks::<G1_BYTES>(body, count, kind)?.iter().map(key_g1).collect();
    points.map_or_else(|| bad(format!("has something else than points of G1 in section {kind}")), Ok)
}

fn g2s(body: &[u8], count: usize, kind: usize) -> Result<Vec<G2Affine>, Error> {
    let points: Option<Vec<_>> = chunks::<G2_BYTES>(body, count, kind)?.iter().map(key_g2).collect();
    points.map_or_else(|| bad(format!("has something else than points of G2 in section {kind}")), Ok)
}

/// Section 4: the matrices A and B.
fn coefficients(body: &[u8], header: &Header) -> Result<[Vec<Coefficient>; 2], Error> {
    let mut reader = Reader(body);
    let count = reader.size()?;
    let mut matrices = [Vec::new(), Vec::new()];
    for entry in chunks::<COEFFICIENT_BYTES>(reader.0, count, 4)? {
        let mut entry = Reader(entry);
        let (matrix, constraint, signal) = (entry.size()?, entry.u32()?, entry.u32()?);
        let fits = |n: u32, below: usize| usize::try_from(n).is_ok_and(|n| n < below);
        let value = twice_montgomery_fr(entry.array()?);
        let (Some(value), true, true) =
            (value, fits(constraint, header.domain), fits(signal, header.signals))
        else {
            return bad("has a coefficient of no number, constraint or signal");
        };
        let Some(matrix) = matrices.get_mut(matrix) else {
            return bad(format!("has a coefficient of matrix {matrix}"));
        };
        matrix.push(Coefficient { constraint, signal, value });
    }
    Ok(matrices)
}
