//! Verification keys and proofs of Groth16 over BN254, in the form that the verifier takes.

use serde_json::Value;
use w3bstream_types::Malformed;

/// A verification key: alpha (G1), beta, gamma, delta (G2), IC (G1), as words in the order of EIP-196 and EIP-197.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKey(Vec<u8>);

impl VerifyingKey {
    /// Reads a verification key as snarkjs writes it (`verification_key.json`). Whether its points are on their curves is
    /// checked by the contract when it is deployed.
    ///
    /// # Errors
    /// [`Malformed`] if it is no such key.
    pub fn from_snarkjs(json: &str) -> Result<Self, Malformed> {
        let bad = |why: &'static str| Malformed::new("verification key", why);
        let json: Value = serde_json::from_str(json).map_err(|_| bad("is no JSON"))?;
        if json["protocol"] != "groth16" || json["curve"] != "bn128" {
            return Err(bad("is not for groth16 over bn128"));
        }
        let mut out = g1(&json["vk_alpha_1"])?;
        for name in ["vk_beta_2", "vk_gamma_2", "vk_delta_2"] {
            out.extend(g2(&json[name])?);
        }
        let points = json["IC"].as_array().ok_or_else(|| bad("has no IC"))?;
        if json["nPublic"].as_u64() != (points.len() as u64).checked_sub(1) {
            return Err(bad("has an IC that does not fit its nPublic"));
        }
        for point in points {
            out.extend(g1(point)?);
        }
        Ok(Self(out))
    }

    /// The words.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A proof: 256 bytes, `abi.encode(uint256[2] a, uint256[2][2] b, uint256[2] c)`, imaginary parts of b first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof(Vec<u8>);

impl Proof {
    /// Reads a proof as snarkjs writes it (`proof.json`).
    ///
    /// # Errors
    /// [`Malformed`] if it is no such proof.
    pub fn from_snarkjs(json: &str) -> Result<Self, Malformed> {
        let json: Value = serde_json::from_str(json).map_err(|_| Malformed::new("proof", "is no JSON"))?;
        Ok(Self([g1(&json["pi_a"])?, g2(&json["pi_b"])?, g1(&json["pi_c"])?].concat()))
    }

    /// The 256 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A point [x, y, 1] of decimal strings.
fn g1(point: &Value) -> Result<Vec<u8>, Malformed> {
    let [x, y, z] = three(point)?;
    if *z != "1" {
        return Err(Malformed::new("point", "is not in affine form"));
    }
    Ok([decimal(x)?, decimal(y)?].concat())
}

/// A point [[x real, x imaginary], [y real, y imaginary], [1, 0]].
fn g2(point: &Value) -> Result<Vec<u8>, Malformed> {
    let [x, y, z] = three(point)?;
    if *z != serde_json::json!(["1", "0"]) {
        return Err(Malformed::new("point", "is not in affine form"));
    }
    let mut out = Vec::with_capacity(128);
    for coordinate in [x, y] {
        let parts = coordinate.as_array().map(Vec::as_slice);
        let Some([real, imaginary]) = parts else {
            return Err(Malformed::new("point", "has a coordinate that is not two numbers"));
        };
        out.extend(decimal(imaginary)?);
        out.extend(decimal(real)?);
    }
    Ok(out)
}

fn three(point: &Value) -> Result<&[Value; 3], Malformed> {
    let parts = point.as_array().and_then(|p| p.as_slice().try_into().ok());
    parts.ok_or_else(|| Malformed::new("point", "has not three coordinates"))
}

/// A decimal number below 2^256, big-endian.
fn decimal(text: &Value) -> Result<[u8; 32], Malformed> {
    let bad = || Malformed::new("point", "has a coordinate that is no decimal number of 256 bits");
    let text = text.as_str().filter(|t| !t.is_empty()).ok_or_else(bad)?;
    let mut out = [0u8; 32];
    for digit in text.bytes() {
        if !digit.is_ascii_digit() {
            return Err(bad());
        }
        let mut carry = u16::from(digit - b'0');
        for byte in out.iter_mut().rev() {
            let v = u16::from(*byte) * 10 + carry;
            *byte = (v & 0xff) as u8;
            carry = v >> 8;
        }
        if carry != 0 {
            return Err(bad());
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn decimals_of_256_bits() {
        let hex_of = |text: &str| decimal(&json!(text)).map(hex::encode).map_err(|e| e.to_string());
        assert_eq!(hex_of("0").unwrap(), "00".repeat(32));
        assert_eq!(hex_of("258").unwrap(), format!("{}0102", "00".repeat(30)));
        let most = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
        assert_eq!(hex_of(most).unwrap(), "ff".repeat(32));
        for bad in [&format!("{}6", &most[..77]), "", "-1", "0x1", "1 "] {
            assert!(hex_of(bad).is_err(), "{bad}");
        }
        assert!(decimal(&json!(5)).is_err());
    }

    #[test]
    fn only_affine_points_of_the_right_key_are_read() {
        let g1 = json!(["1", "2", "1"]);
        let g2 = json!([["1", "2"], ["3", "4"], ["1", "0"]]);
        let key = json!({
            "protocol": "groth16", "curve": "bn128", "nPublic": 1, "vk_alpha_1": g1,
            "vk_beta_2": g2, "vk_gamma_2": g2, "vk_delta_2": g2, "IC": [g1, g1],
        });
        let read = VerifyingKey::from_snarkjs(&key.to_string()).unwrap();
        assert_eq!(read.as_bytes().len(), 32 * (14 + 4));
        // The imaginary part comes first.
        assert_eq!((read.as_bytes()[64 + 31], read.as_bytes()[96 + 31]), (2, 1));
        for (pointer, value) in [
            ("/protocol", json!("plonk")),
            ("/curve", json!("bls12381")),
            ("/nPublic", json!(2)),
            ("/vk_alpha_1/2", json!("2")),
            ("/vk_beta_2/2", json!(["0", "1"])),
            ("/vk_gamma_2/0", json!(["1"])),
            ("/vk_delta_2", json!(null)),
            ("/IC", json!([])),
            ("/IC/1", json!(["1", "2"])),
        ] {
            let mut other = key.clone();
            *other.pointer_mut(pointer).unwrap() = value;
            assert!(VerifyingKey::from_snarkjs(&other.to_string()).is_err(), "{pointer}");
        }
    }
}
