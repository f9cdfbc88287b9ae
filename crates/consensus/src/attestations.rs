//! Collecting members' attestations of one height after the other. Pure: no network, no clock.

use std::collections::BTreeMap;

use w3bstream_types::{Address, Attestation, Canonical, Genesis, Invalid, Statement};

use crate::{Error, ErrorKind};

/// Heights that are collected at once. What is further ahead is refused and must be sent again.
const WINDOW: u64 = 256;

/// A member's statement with its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedStatement {
    /// The member's place in the genesis.
    pub member: u32,
    /// What it attests.
    pub statement: Statement,
    /// Its `r ‖ s ‖ v` over [`Statement::signing_hash`].
    pub signature: [u8; 65],
}

impl SignedStatement {
    /// Checks that the member of this subnet signed it.
    ///
    /// # Errors
    /// [`Invalid`] with link `attestation` or `attestation signature`.
    pub fn verify(&self, genesis: &Genesis) -> Result<(), Invalid> {
        let bad = |why: String| Invalid::new("attestation", why);
        let s = &self.statement;
        if (s.subnet, s.genesis, s.epoch) != (genesis.project, genesis.digest(), genesis.epoch) {
            return Err(bad("is of another subnet, genesis or epoch".into()));
        }
        let member = genesis.members.get(self.member as usize);
        let member = member.ok_or_else(|| bad(format!("signer {} is no member", self.member)))?;
        let expected = member.address().map_err(|e| bad(e.to_string()))?;
        let signer = Address::recover(&s.signing_hash(), &self.signature)?;
        if signer != expected {
            return Err(bad(format!("member {} is {expected}, but {signer} signed", self.member)));
        }
        Ok(())
    }
}

/// A quorum attests something else than this node computed: the project must be halted, both shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// What this node computed.
    pub ours: Statement,
    /// What a quorum attests.
    pub theirs: Attestation,
}

/// What became of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Collected {
    /// It counts; so many members of the needed ones have signed the same.
    Counted {
        /// Members that signed the same statement.
        have: usize,
        /// The quorum.
        need: usize,
    },
    /// A quorum has signed what this node computed. Given once per height.
    Complete(Box<Attestation>),
    /// It was known, or came after its height was complete.
    Known,
    /// It does not count: of another subnet, not of a member, wrongly signed, or outside the window.
    Refused(Invalid),
    /// The member has signed two statements for one height: first and second, for anybody to check.
    Equivocation(Box<(SignedStatement, SignedStatement)>),
    /// A quorum has signed something else than this node: halt. Given once per height.
    Diverged(Box<Divergence>),
}

#[derive(Debug, Default)]
struct Height {
    ours: Option<Statement>,
    signed: BTreeMap<u32, SignedStatement>,
    complete: bool,
    diverged: bool,
}

impl Height {
    const fn judged(&self) -> bool {
        self.complete || self.diverged
    }
}

/// Collects attestations of a subnet.
///
/// Memory is bounded: at most 256 heights after the last one below which all are complete, and one statement
/// per member and height.
#[derive(Debug)]
pub struct AttestationPool {
    genesis: Genesis,
    // Every height up to here is complete.
    complete_to: u64,
    heights: BTreeMap<u64, Height>,
}

impl AttestationPool {
    /// A pool for the heights above `complete_to`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the genesis is not sound.
    pub fn new(genesis: Genesis, complete_to: u64) -> Result<Self, Error> {
        genesis.check().map_err(|e| Error::new(ErrorKind::Config, "bad genesis").with_source(e))?;
        Ok(Self { genesis, complete_to, heights: BTreeMap::new() })
    }

    /// Adds what this node computed and signed. In a subnet of one it is complete at once.
    ///
    /// # Errors
    /// [`ErrorKind::Equivocation`] if this node said something else for this height before,
    /// [`ErrorKind::Full`] if the height is too far ahead of the first one that is not complete: apply no
    /// further until it is, [`ErrorKind::Input`] if the statement or the signature is wrong.
    pub fn add_own(&mut self, own: SignedStatement) -> Result<Collected, Error> {
        let height = own.statement.height;
        if height > self.complete_to.saturating_add(WINDOW) {
            let next = self.complete_to + 1;
            let why = format!("height {height} must wait: no quorum has attested height {next} yet");
            return Err(Error::new(ErrorKind::Full, why));
        }
        if let Some(before) = self.heights.get(&height).and_then(|h| h.ours.as_ref())
            && *before != own.statement
        {
            let why = format!("height {height} was attested before with another result");
            return Err(Error::new(ErrorKind::Equivocation, why));
        }
        let ours = own.statement.clone();
        match self.add(own) {
            Collected::Refused(e) => {
                Err(Error::new(ErrorKind::Input, "the node's own attestation is wrong").with_source(e))
            }
            Collected::Equivocation(both) => {
                let why = format!(
                    "height {height} was attested by this member with block {}",
                    both.0.statement.block
                );
                Err(Error::new(ErrorKind::Equivocation, why))
            }
            before => {
                let Some(entry) = self.heights.get_mut(&height).filter(|h| h.ours.is_none()) else {
                    return Ok(before);
                };
                entry.ours = Some(ours);
                Ok(self.judge(height))
            }
        }
    }

    /// Adds a member's statement, before or after this node's own.
    pub fn add(&mut self, signed: SignedStatement) -> Collected {
        let height = signed.statement.height;
        if height <= self.complete_to {
            return Collected::Known;
        }
        if let Some(known) = self.heights.get(&height).and_then(|h| h.signed.get(&signed.member))
            && known.statement == signed.statement
        {
            return Collected::Known;
        }
        if let Err(e) = self.check(&signed) {
            return Collected::Refused(e);
        }
        let entry = self.heights.entry(height).or_default();
        if let Some(first) = entry.signed.get(&signed.member) {
            return Collected::Equivocation(Box::new((first.clone(), signed)));
        }
        entry.signed.insert(signed.member, signed);
        if entry.judged() { Collected::Known } else { self.judge(height) }
    }

    /// The height up to which everything is complete.
    #[must_use]
    pub const fn complete_to(&self) -> u64 {
        self.complete_to
    }

    /// This node's own statement for a height that is not complete, to be sent again to others.
    #[must_use]
    pub fn own(&self, height: u64, me: u32) -> Option<&SignedStatement> {
        self.heights.get(&height).filter(|h| !h.judged() && h.ours.is_some())?.signed.get(&me)
    }

    /// Heights that are held, complete ones behind a gap included.
    #[must_use]
    pub fn held(&self) -> usize {
        self.heights.len()
    }

    fn check(&self, signed: &SignedStatement) -> Result<(), Invalid> {
        let height = signed.statement.height;
        if height > self.complete_to.saturating_add(WINDOW) {
            let why = format!("height {height} is too far ahead of {}", self.complete_to);
            return Err(Invalid::new("attestation", why));
        }
        signed.verify(&self.genesis)
    }

    /// Looks for a quorum at a height that is not done.
    fn judge(&mut self, height: u64) -> Collected {
        let need = self.genesis.quorum();
        let Some(entry) = self.heights.get_mut(&height) else { return Collected::Known };
        let Some(ours) = entry.ours.clone() else {
            // Nothing is complete before this node has computed it itself.
            return Collected::Counted { have: 0, need };
        };
        let have = count(entry, &ours);
        if have >= need {
            entry.complete = true;
            let attestation = gather(entry, &ours);
            self.advance();
            return Collected::Complete(Box::new(attestation));
        }
        let other = entry.signed.values().map(|s| &s.statement).find(|s| count(entry, s) >= need).cloned();
        if let Some(other) = other {
            entry.diverged = true;
            let theirs = gather(entry, &other);
            return Collected::Diverged(Box::new(Divergence { ours, theirs }));
        }
        Collected::Counted { have, need }
    }

    fn advance(&mut self) {
        while self.heights.get(&(self.complete_to + 1)).is_some_and(|h| h.complete) {
            self.complete_to += 1;
            self.heights.remove(&self.complete_to);
        }
    }
}

fn count(entry: &Height, statement: &Statement) -> usize {
    entry.signed.values().filter(|s| s.statement == *statement).count()
}

fn gather(entry: &Height, statement: &Statement) -> Attestation {
    let same = entry.signed.values().filter(|s| s.statement == *statement);
    Attestation { statement: statement.clone(), signatures: same.map(|s| (s.member, s.signature)).collect() }
}

#[cfg(test)]
mod tests;
