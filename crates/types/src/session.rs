//! Devices that cannot sign each message: what a device signs once, the JWT (RFC 7519) that a node answers, and the
//! messages that come with that JWT instead of a signature.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use serde_json::json;

use crate::compact::{self, Compact};
use crate::message::{check_event_id, check_payload};
use crate::{
    Algorithm, Canonical, Decoder, Did, Encoder, EventType, Invalid, KeyId, Malformed, ProjectId, PublicKey,
    SecretKey, Timestamp,
};

/// The `typ` of what a device signs to open a session.
pub const SESSION_TYPE: &str = "w3b-session+jws";
/// The `typ` of what a device signs to connect.
pub const CONNECT_TYPE: &str = "w3b-connect+jws";
/// The `typ` of the node's answer to it.
const TOKEN_TYPE: &str = "JWT";
/// The longest life of a session, in seconds. A node's settings give a shorter one.
pub const MAX_SESSION_SECONDS: u64 = 24 * 60 * 60;
/// How long after its session a message may still be ordered, in milliseconds. It was judged by the time of its receipt
/// when it was taken; this is for what a node took, promised to keep, and could not order because it was down.
pub const MAX_SESSION_LAG_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// The longest introduction or JWT that is read, in bytes: four DIDs of the greatest length in base64url fit.
pub const MAX_SESSION_TEXT_BYTES: usize = 8 * 1024;
/// The longest nonce or id of a JWT, in bytes.
pub const MAX_NONCE_BYTES: usize = 128;

/// What a device says when it introduces itself to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntroductionClaims {
    /// The project, `aud`.
    pub audience: ProjectId,
    /// The device, `sub`.
    pub device: Did,
    /// The node that it introduces itself to, `node`. No other node takes it.
    pub node: Did,
    /// The device's time in seconds, `iat`; 0 if it has no clock and the nonce is the node's.
    pub issued: u64,
    /// Used once, `nonce`: 1 to 128 printable ASCII characters.
    pub nonce: String,
    /// The client id of the connection, `client`; `None` to open a session.
    pub client: Option<String>,
}

impl IntroductionClaims {
    /// Signs with the device's key, which must be the one of its DID's default key id.
    #[must_use]
    pub fn sign(&self, key: &SecretKey) -> String {
        let mut claims = json!({
            "aud": self.audience.to_string(), "iat": self.issued, "node": self.node.as_str(),
            "nonce": self.nonce, "sub": self.device.as_str(),
        });
        let typ = match &self.client {
            None => SESSION_TYPE,
            Some(client) => {
                claims["client"] = client.as_str().into();
                CONNECT_TYPE
            }
        };
        compact::sign(&self.device.default_key_id(), typ, &claims, key)
    }
}

/// A device's introduction: a compact JWS by which it shows that it holds its key.
#[derive(Clone, PartialEq, Eq)]
pub struct Introduction {
    text: String,
    read: Compact,
    claims: IntroductionClaims,
}

impl Introduction {
    /// Reads a request for a session: `typ` `w3b-session+jws`, claims exactly `aud`, `iat`, `node`, `nonce`, `sub`.
    ///
    /// # Errors
    /// [`Malformed`] naming the part and the claim.
    pub fn session(text: &str) -> Result<Self, Malformed> {
        Self::read(text, SESSION_TYPE)
    }

    /// Reads a statement of a connection: `typ` `w3b-connect+jws`, and `client` among the claims.
    ///
    /// # Errors
    /// [`Malformed`] naming the part and the claim.
    pub fn connect(text: &str) -> Result<Self, Malformed> {
        Self::read(text, CONNECT_TYPE)
    }

    fn read(text: &str, typ: &str) -> Result<Self, Malformed> {
        let bad = |why: &'static str| Malformed::new("introduction", why);
        if text.len() > MAX_SESSION_TEXT_BYTES {
            return Err(bad("is longer than 8 KiB"));
        }
        let names = ["aud", "iat", "node", "nonce", "sub", "client"];
        let connects = typ == CONNECT_TYPE;
        let names = if connects { &names[..] } else { &names[..5] };
        let read = Compact::read("introduction", text, typ, names)?;
        let of = &read.claims;
        let client = if connects { Some(of.text("client")?.to_owned()) } else { None };
        let claims = IntroductionClaims {
            audience: of.text("aud")?.parse()?,
            device: of.text("sub")?.parse()?,
            node: of.text("node")?.parse()?,
            issued: of.seconds("iat")?,
            nonce: of.text("nonce")?.to_owned(),
            client,
        };
        check_nonce("nonce", &claims.nonce)?;
        if read.key.did() != claims.device {
            return Err(bad("kid must be a key of sub"));
        }
        Ok(Self { text: text.to_owned(), read, claims })
    }

    /// What it says. Nobody has checked it.
    #[must_use]
    pub const fn claims(&self) -> &IntroductionClaims {
        &self.claims
    }

    /// The key that it says has signed it.
    #[must_use]
    pub const fn key(&self) -> &KeyId {
        &self.read.key
    }

    /// Checks the signature with the device's registered key.
    ///
    /// # Errors
    /// [`Invalid`] with link `signature`.
    pub fn verify(&self, key: &PublicKey) -> Result<(), Invalid> {
        self.read.verify(&self.text, key)
    }
}

impl fmt::Debug for Introduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text opens a session while it is fresh.
        f.debug_tuple("Introduction").field(&self.claims.device).finish()
    }
}

fn check_nonce(what: &'static str, nonce: &str) -> Result<(), Malformed> {
    if nonce.is_empty() || nonce.len() > MAX_NONCE_BYTES || !nonce.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Malformed::new(what, "must be 1 to 128 printable ASCII characters without blanks"));
    }
    Ok(())
}

/// What a node says of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionClaims {
    /// The project, `aud`.
    pub audience: ProjectId,
    /// The device that showed its key, `sub`.
    pub device: Did,
    /// The node that it showed it to, `iss`.
    pub node: Did,
    /// When the session began, in seconds, `iat`.
    pub issued: u64,
    /// When it ends, in seconds, `exp`.
    pub expires: u64,
    /// Names the session, `jti`: 1 to 128 printable ASCII characters.
    pub id: String,
}

impl SessionClaims {
    /// What the node signs with the key that its DID is.
    ///
    /// # Errors
    /// [`Malformed`] if the node's DID holds no key.
    pub fn signing_input(&self) -> Result<String, Malformed> {
        let algorithm = self.node.embedded_key()?.algorithm();
        let claims = json!({
            "aud": self.audience.to_string(), "exp": self.expires, "iat": self.issued,
            "iss": self.node.as_str(), "jti": self.id, "sub": self.device.as_str(),
        });
        Ok(compact::signing_input(algorithm, &self.node.default_key_id(), TOKEN_TYPE, &claims))
    }
}

/// A session's JWT. Whoever holds it can send as the device until it ends.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken {
    text: String,
    // In a box, so that a record of another form is no larger for it.
    read: Box<Read>,
}

#[derive(Clone, PartialEq, Eq)]
struct Read {
    algorithm: Algorithm,
    claims: SessionClaims,
    signature: [u8; 64],
    signed_len: usize,
}

impl SessionToken {
    /// Reads a JWT: header exactly `alg`, `kid`, `typ`; claims exactly `aud`, `exp`, `iat`, `iss`, `jti`, `sub`; a life of
    /// at most [`MAX_SESSION_SECONDS`].
    ///
    /// # Errors
    /// [`Malformed`] naming the part and the claim.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let bad = |why: &'static str| Malformed::new("session", why);
        if text.len() > MAX_SESSION_TEXT_BYTES {
            return Err(bad("is longer than 8 KiB"));
        }
        let Compact { algorithm, key, claims: of, signature, signed_len } =
            Compact::read("session", text, TOKEN_TYPE, &["aud", "exp", "iat", "iss", "jti", "sub"])?;
        let claims = SessionClaims {
            audience: of.text("aud")?.parse()?,
            device: of.text("sub")?.parse()?,
            node: of.text("iss")?.parse()?,
            issued: of.seconds("iat")?,
            expires: of.seconds("exp")?,
            id: of.text("jti")?.to_owned(),
        };
        check_nonce("session", &claims.id)?;
        if key != claims.node.default_key_id() {
            return Err(bad("kid must be the key that iss is"));
        }
        let life = claims.expires.checked_sub(claims.issued);
        if !life.is_some_and(|life| (1..=MAX_SESSION_SECONDS).contains(&life)) {
            return Err(bad("exp must be at most a day behind iat"));
        }
        let read = Box::new(Read { algorithm, claims, signature, signed_len });
        Ok(Self { text: text.to_owned(), read })
    }

    /// Puts a JWT together from what was signed and its signature.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn assemble(signing_input: &str, signature: &[u8; 64]) -> Result<Self, Malformed> {
        Self::parse(&format!("{signing_input}.{}", B64.encode(signature)))
    }

    /// Whether a bearer's secret is meant to be a JWT rather than a publisher's token: three parts, the first of which
    /// is the beginning of a JSON object in base64url.
    #[must_use]
    pub fn looks_like(text: &str) -> bool {
        text.starts_with("eyJ") && text.bytes().filter(|b| *b == b'.').count() == 2
    }

    /// The JWT itself, a secret as long as it lasts.
    #[must_use]
    pub fn compact(&self) -> &str {
        &self.text
    }

    /// What it says. Nobody has checked it.
    #[must_use]
    pub fn claims(&self) -> &SessionClaims {
        &self.read.claims
    }

    /// When it ends.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        // `parse` has seen that it fits.
        Timestamp(self.read.claims.expires.saturating_mul(1000))
    }

    /// When it began.
    #[must_use]
    pub fn issued(&self) -> Timestamp {
        Timestamp(self.read.claims.issued.saturating_mul(1000))
    }

    /// Whether it is in force at this moment. Members' clocks may differ: it is so a minute before it began.
    #[must_use]
    pub fn in_force(&self, at: Timestamp) -> bool {
        const SKEW_MS: u64 = 60_000;
        at < self.expires() && self.issued().0 <= at.0.saturating_add(SKEW_MS)
    }

    /// Checks that one of `members` has signed it, with the key that its DID is.
    ///
    /// # Errors
    /// [`Invalid`] with link `session` or `signature`.
    pub fn verify(&self, members: &[Did]) -> Result<(), Invalid> {
        let Read { algorithm, claims, signature, signed_len } = &*self.read;
        let node = &claims.node;
        if !members.contains(node) {
            return Err(Invalid::new("session", format!("{node} is no member of the project's subnet")));
        }
        let key = node.embedded_key().map_err(|e| Invalid::new("session", e.to_string()))?;
        compact::verify(&self.text, (*algorithm, *signed_len, signature), &key)
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SessionToken").field(self.claims()).finish()
    }
}

/// A message that carries the JWT of a device's session instead of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionMessage {
    /// The project that the message is for.
    pub project: ProjectId,
    /// The device that opened the session.
    pub device: Did,
    /// The device's own id of the event, unique per device: what makes a repeat a repeat.
    pub event_id: String,
    /// What kind of event it is.
    pub event_type: EventType,
    /// The device's time; [`Timestamp::NONE`] if it gave none.
    pub time: Timestamp,
    /// The bytes that an applet gets.
    pub payload: Vec<u8>,
    /// The session's JWT, by which the members judge the message.
    pub token: SessionToken,
}

impl SessionMessage {
    /// True if both say the same, in whichever session each came: a device that renews its session repeats the message
    /// with another JWT.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        let Self { project, device, event_id, event_type, time, payload, token: _ } = self;
        (project, device, event_id) == (&other.project, &other.device, &other.event_id)
            && (event_type, time, payload) == (&other.event_type, &other.time, &other.payload)
    }

    /// The token must be of this project and device.
    pub(crate) fn check(&self) -> Result<(), Malformed> {
        check_event_id(&self.event_id)?;
        check_payload(&self.payload)?;
        let claims = self.token.claims();
        if (claims.audience, &claims.device) != (self.project, &self.device) {
            return Err(Malformed::new(Self::DOMAIN, "the session is of another device or project"));
        }
        Ok(())
    }
}

impl Canonical for SessionMessage {
    const DOMAIN: &'static str = "w3b/session-message";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 7;

    fn encode_fields(&self, e: &mut Encoder) {
        e.digest(&self.project.0).text(self.device.as_str()).text(&self.event_id);
        e.text(self.event_type.as_str()).u64(self.time.0).bytes(&self.payload).text(self.token.compact());
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let message = Self {
            project: ProjectId(d.digest()?),
            device: d.parse()?,
            event_id: d.text()?.to_owned(),
            event_type: d.parse()?,
            time: Timestamp(d.u64()?),
            payload: d.bytes()?.to_vec(),
            token: SessionToken::parse(d.text()?)?,
        };
        message.check()?;
        Ok(message)
    }
}
