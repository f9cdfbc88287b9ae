//! What listeners, and clients of other servers, share about TLS: certificates and keys from files, devices' certificates, revocation lists, and
//! reloading all of them while connections stay open.
//!
//! **Takes** [`TlsSettings`] and TCP connections; **gives** encrypted streams with the [`Peer`] at the other end.
//! TLS 1.2 and 1.3 by rustls, with the cryptography of ring. Nothing else is negotiated, and there is no setting that
//! makes it weaker.
//!
//! ```no_run
//! # async fn listen() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use w3bstream_tls::{Tls, TlsSettings};
//! use w3bstream_types::SystemClock;
//!
//! let settings = TlsSettings::new("tls/certificate.pem", "tls/key.pem");
//! let tls = Tls::open(settings, Arc::new(SystemClock)).await?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8883").await?;
//! let (socket, _) = listener.accept().await?;
//! // In a task of the connection: a peer that is slow holds up nobody but itself.
//! let (stream, peer) = tls.accept(socket).await?;
//! # drop((stream, peer)); Ok(()) }
//! ```
//!
//! # Devices' certificates
//! With [`TlsSettings::clients`], a device shows a certificate that one of the authorities has issued (mutual TLS). The
//! certificate names its device by a **URI among its subject alternative names: the device's DID**, such as
//! `did:key:z6Mk…`; see [`PeerCertificate::dids`]. What is in the common name is shown to people and binds nothing. The
//! certificate says who may connect and as whom; the messages' own signatures say who has made them, so a gateway's
//! certificate may name the DIDs of the devices behind it.
//!
//! An authority's key is trusted for every DID: issue certificates only for DIDs whose holder has shown that they hold
//! the key.
//!
//! # Revocation
//! [`ClientAuth::crl`] names a file with revocation lists (RFC 5280, PEM). Every certificate of the chain is looked up
//! in the list of the authority that issued it; if the file has none of that authority, the certificate is refused. A
//! list that is out of date is a matter of [`ClientAuth::stale_crl`]. Where devices show certificates, sessions are
//! not resumed: a resumed session would not look at the certificate again.
//!
//! # Reload
//! Before a handshake, if the last look was longer than [`TlsSettings::reload_every`] ago, the files are read again,
//! and what they say is used from this handshake on if it has changed. If they are broken or do not fit together, the
//! old ones stay in use, and the log, [`Metrics::reloads_failed`] and [`Tls::last_error`] say so. Connections that are open stay
//! open; [`Tls::recheck`] tells whether a peer's certificate would still be taken, and [`Tls::generation`] when to ask.
//!
//! # Clients
//! [`TlsClient`] is the other direction: this node connects to a server, such as an MQTT broker, trusts the authorities of
//! a file or those of the system, and shows a certificate of its own if it has one.
//!
//! # Invariants
//! - A handshake ends within [`TlsSettings::handshake_timeout`], its failure included.
//! - No file is read beyond [`TlsSettings::max_file_bytes`].
//! - No private key is in a log, an error or a `Debug` form.

mod client;
mod error;
mod files;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod load;
mod own;
mod peer;
mod settings;
mod tls;

pub use client::{ClientSettings, Identity, TlsClient, TlsClientStream};
pub use error::{Error, ErrorKind};
pub use own::{SelfSigned, self_signed};
pub use peer::{Peer, PeerCertificate};
pub use settings::{ClientAuth, StaleCrl, TlsSettings};
pub use tls::{Metrics, Tls, TlsStream};
