//! Who is at the other end.

use std::fmt;
use std::fmt::Write as _;

use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use w3bstream_types::{Did, Timestamp};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

use crate::load::timestamp;
use crate::{Error, ErrorKind};

/// Who is at the other end, and what was negotiated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The name that the client asked for (SNI).
    pub server_name: Option<String>,
    /// The protocol that was agreed on (ALPN).
    pub alpn: Option<Vec<u8>>,
    /// The certificate that the client has shown. It was verified.
    pub certificate: Option<PeerCertificate>,
}

/// A client's certificate, verified against the authorities and their revocation lists.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// SHA-256 of its DER form.
    pub sha256: [u8; 32],
    /// The URIs among its subject alternative names.
    pub uris: Vec<String>,
    /// The DIDs among these: who the certificate speaks for.
    pub dids: Vec<Did>,
    /// The common name of its subject, for people to read.
    pub common_name: Option<String>,
    /// The serial number, in hexadecimal digits.
    pub serial: String,
    /// When it ends.
    pub not_after: Timestamp,
    /// As it was shown, the client's own first.
    pub(crate) chain: Vec<CertificateDer<'static>>,
}

impl fmt::Debug for PeerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sha256 = hex(&self.sha256);
        f.debug_struct("PeerCertificate")
            .field("sha256", &sha256)
            .field("uris", &self.uris)
            .finish_non_exhaustive()
    }
}

impl PeerCertificate {
    /// True if the certificate speaks for this DID.
    #[must_use]
    pub fn names(&self, did: &Did) -> bool {
        self.dids.contains(did)
    }

    /// Reads a chain that was verified.
    pub(crate) fn read(chain: &[CertificateDer<'_>]) -> Result<Self, Error> {
        let unreadable = |why: String| {
            Error::new(ErrorKind::Peer, format!("tls: the client's certificate cannot be read: {why}"))
        };
        let first = chain.first().ok_or_else(|| unreadable("there is none".to_owned()))?;
        let (_, certificate) =
            x509_parser::parse_x509_certificate(first).map_err(|e| unreadable(e.to_string()))?;
        let uris = uris(&certificate).map_err(unreadable)?;
        let dids = uris.iter().filter_map(|uri| uri.parse().ok()).collect();
        let mut names = certificate.subject().iter_common_name();
        Ok(Self {
            sha256: Sha256::digest(first).into(),
            dids,
            uris,
            common_name: names.next().and_then(|name| name.as_str().ok()).map(str::to_owned),
            serial: hex(certificate.raw_serial()),
            not_after: timestamp(certificate.validity().not_after.timestamp()),
            chain: chain.iter().map(|c| c.clone().into_owned()).collect(),
        })
    }
}

fn uris(certificate: &X509Certificate<'_>) -> Result<Vec<String>, String> {
    // Twice the same extension, which the standard forbids, is an error here.
    let names = certificate.subject_alternative_name().map_err(|e| e.to_string())?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let uri = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    };
    Ok(names.iter().filter_map(uri).collect())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
