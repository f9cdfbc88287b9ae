//! Which form a message has.

use w3bstream_types::{Form, Jws, Malformed, Record};

use crate::decode_envelope;

/// Content type of the envelope form over HTTP.
pub const CONTENT_TYPE_ENVELOPE: &str = "application/vnd.w3bstream.envelope";
/// Content type of the JWS form over HTTP (RFC 7515 §9.2.1).
pub const CONTENT_TYPE_JOSE: &str = "application/jose";

/// Reads a signed message in either form. The signature is *not* checked.
///
/// `content_type` is what the sender says (parameters behind `;` do not count). Without one, as over MQTT, or
/// with another one, the bytes tell: a JWS begins with `eyJ` (base64url of `{"`), and no envelope does.
///
/// # Errors
/// [`Malformed`] if the bytes are not a message of the named form, or of neither.
pub fn decode_message(content_type: Option<&str>, bytes: &[u8]) -> Result<Record, Malformed> {
    let named = content_type.and_then(|t| t.split(';').next()).map(str::trim).unwrap_or_default();
    if named.eq_ignore_ascii_case(CONTENT_TYPE_JOSE) {
        return decode_jws(bytes);
    }
    if !named.eq_ignore_ascii_case(CONTENT_TYPE_ENVELOPE) && bytes.starts_with(b"eyJ") {
        return decode_jws(bytes);
    }
    Ok(Record::new(Form::Envelope(decode_envelope(bytes)?)))
}

/// Reads a compact JWS. The signature is *not* checked.
///
/// # Errors
/// [`Malformed`] naming the part and the claim.
pub fn decode_jws(bytes: &[u8]) -> Result<Record, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed::new("jws", "is not ASCII text"))?;
    Ok(Record::new(Form::Jws(Jws::parse(text)?)))
}
