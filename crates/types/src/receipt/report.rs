//! What verifying a receipt found.

use std::fmt;

use serde::Serialize;

use super::links::MessageTime;
use crate::MessageId;

/// A link of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Link {
    /// The device's key.
    Registration,
    /// What the device signed.
    Message,
    /// The bytes that the applet got.
    Payload,
    /// Who the members are.
    Genesis,
    /// The message's place in a final block.
    Ordering,
    /// What a quorum signed about the block.
    Attestation,
    /// What executing the message gave.
    Execution,
    /// Which programs ran, under which manifest.
    Programs,
    /// What was shown of the settlements' statements in zero knowledge.
    Proof,
    /// Which blocks of other chains took the settlements.
    Settlement,
}

impl Link {
    /// Every link, in the order in which they are checked: each depends on earlier ones only.
    pub const ALL: [Self; 10] = [
        Self::Registration,
        Self::Message,
        Self::Payload,
        Self::Genesis,
        Self::Ordering,
        Self::Attestation,
        Self::Execution,
        Self::Programs,
        Self::Proof,
        Self::Settlement,
    ];

    /// Its name in reports, and the `link` of an [`Invalid`](crate::Invalid).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Registration => "registration",
            Self::Message => "message",
            Self::Payload => "payload",
            Self::Genesis => "genesis",
            Self::Ordering => "ordering",
            Self::Attestation => "attestation",
            Self::Execution => "execution",
            Self::Programs => "programs",
            Self::Proof => "proof",
            Self::Settlement => "settlement",
        }
    }

    /// The links that this one rests on. If one of them is broken, this one is not checked: what it says
    /// would mean nothing.
    #[must_use]
    pub const fn depends_on(self) -> &'static [Self] {
        match self {
            Self::Registration | Self::Genesis => &[],
            Self::Message => &[Self::Registration],
            Self::Payload => &[Self::Message],
            Self::Ordering => &[Self::Message, Self::Genesis],
            Self::Attestation => &[Self::Genesis, Self::Ordering],
            Self::Execution => &[Self::Message, Self::Attestation],
            Self::Programs | Self::Proof | Self::Settlement => &[Self::Execution],
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What is known of one link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Shown by a signature or digest; by whom, such as `device did:key:…` or `3 of 4`.
    Proven(String),
    /// Said without proof; by whom, such as `token, as the ingress node says`.
    Claimed(String),
    /// Not looked at; why.
    NotChecked(String),
    /// Wrong; in what way.
    Broken(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, text) = match self {
            Self::Proven(by) => ("proven", format!("by {by}")),
            Self::Claimed(by) => ("claimed", format!("by {by}")),
            Self::NotChecked(why) => ("not checked", why.clone()),
            Self::Broken(why) => ("BROKEN", why.clone()),
        };
        write!(f, "{word:<12} {text}")
    }
}

/// The verdict on one link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkReport {
    /// The link.
    pub link: Link,
    /// The verdict.
    pub verdict: Verdict,
}

/// The verdicts on all links, in the order of [`Link::ALL`]. Shown as one line for each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The message's id, as the receipt says.
    pub id: MessageId,
    /// The message's time, and by whom.
    pub time: MessageTime,
    /// The verdicts.
    pub links: Vec<LinkReport>,
    /// The links that hold but rest on nothing that the reader knew before; and the execution, if nothing of
    /// it is shown.
    pub unanchored: Vec<Link>,
}

impl Report {
    /// True if no link is broken: the receipt is consistent. It may still be made up as a whole; see
    /// [`Self::anchored`].
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.first_broken().is_none()
    }

    /// True if no link is broken and the receipt rests on what the reader knew before.
    #[must_use]
    pub fn anchored(&self) -> bool {
        self.is_ok() && self.unanchored.is_empty()
    }

    /// The verdict on `link`.
    #[must_use]
    pub fn verdict(&self, link: Link) -> Option<&Verdict> {
        self.links.iter().find(|l| l.link == link).map(|l| &l.verdict)
    }

    /// The first broken link, and what is wrong with it.
    #[must_use]
    pub fn first_broken(&self) -> Option<(Link, &str)> {
        self.links.iter().find_map(|l| match &l.verdict {
            Verdict::Broken(why) => Some((l.link, why.as_str())),
            _ => None,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "message {}", self.id)?;
        match self.time {
            MessageTime::Device(t) => writeln!(f, "time {t} ms by the device")?,
            MessageTime::Block(t) => writeln!(f, "time {t} ms by the block")?,
        }
        for LinkReport { link, verdict } in &self.links {
            writeln!(f, "  {link:<13} {verdict}")?;
        }
        let unanchored: Vec<_> = self.unanchored.iter().map(|l| l.name()).collect();
        match self.first_broken() {
            Some((link, _)) => write!(f, "broken: {link}"),
            None if unanchored.is_empty() => f.write_str("verified against your anchors"),
            None => write!(f, "consistent, not anchored: {}", unanchored.join(", ")),
        }
    }
}
