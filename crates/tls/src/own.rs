//! A certificate of one's own, for those who have no authority.

use std::fmt;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use time::OffsetDateTime;
use w3bstream_types::Timestamp;

use crate::{Error, ErrorKind};

/// A certificate that is its own authority, with its key.
#[derive(Clone, PartialEq, Eq)]
pub struct SelfSigned {
    /// The certificate, PEM. Clients take it as the authority to trust.
    pub certificate: String,
    /// The private key, PEM (PKCS #8, P-256). Keep it to the node's user.
    pub key: String,
}

impl fmt::Debug for SelfSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelfSigned").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// Makes a certificate for a listener that is known by `names` (DNS names and IP addresses), good from `from` up to
/// `until`, which are taken in whole seconds.
///
/// # Errors
/// [`ErrorKind::Config`] if there is no name, a name is neither, or the time is empty; [`ErrorKind::Key`] if no random
/// numbers can be had.
pub fn self_signed(names: &[String], from: Timestamp, until: Timestamp) -> Result<SelfSigned, Error> {
    let wrong = |what: String| Error::new(ErrorKind::Config, format!("tls: {what}"));
    let Some(first) = names.first() else {
        return Err(wrong(
            "a certificate needs the names or addresses under which clients connect".to_owned(),
        ));
    };
    if until <= from {
        return Err(wrong("a certificate must end later than it begins".to_owned()));
    }
    let mut params = CertificateParams::new(names).map_err(|e| {
        wrong(format!("{} must be DNS names or IP addresses", names.join(", "))).with_source(e)
    })?;
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, first.as_str());
    params.not_before = instant(from)?;
    params.not_after = instant(until)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let cannot = |e| Error::new(ErrorKind::Key, "tls: cannot make a key and a certificate").with_source(e);
    let key = KeyPair::generate().map_err(cannot)?;
    let certificate = params.self_signed(&key).map_err(cannot)?;
    Ok(SelfSigned { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn instant(at: Timestamp) -> Result<OffsetDateTime, Error> {
    let secs = i64::try_from(at.millis() / 1000).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(secs).map_err(|e| {
        Error::new(ErrorKind::Config, "tls: a certificate's time must end before the year 10000")
            .with_source(e)
    })
}
