//! Checks a receipt, link by link.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::anchors::Anchors;
use super::links::{MessageLink, OutputLink, Receipt, RegistrationLink, SessionLink};
use super::report::{Link, LinkReport, Report, Verdict};
use super::settled::SettlementFinding;
use crate::{
    Canonical, Did, Digest, Entry, EventRecord, Output, OutputKind, ResultRecord, check_event_id, merkle,
    payload_digest,
};

/// A link's verdict, or why it is broken.
type Checked = Result<Verdict, Cow<'static, str>>;

impl Receipt {
    /// Checks every link. With `anchors`, what they list must be what the receipt names; without, the best
    /// that can be found is that the receipt is consistent.
    ///
    /// Takes time in proportion to the receipt: a few signatures for each member, one for the message.
    #[must_use]
    pub fn verify(&self, anchors: Option<&Anchors>) -> Report {
        self.verify_with(anchors, None)
    }

    /// [`Self::verify`], with what somebody who knows chains and proof systems found of each of
    /// [`Self::settlements`], in their order. Without it settlements and proofs are not checked.
    #[must_use]
    pub fn verify_with(&self, anchors: Option<&Anchors>, findings: Option<&[SettlementFinding]>) -> Report {
        let nothing = Anchors::default();
        let run = Run { receipt: self, anchors: anchors.unwrap_or(&nothing), findings };
        let mut links: Vec<LinkReport> = Vec::with_capacity(Link::ALL.len());
        let mut failed = Vec::new();
        for link in Link::ALL {
            let verdict = match link.depends_on().iter().find(|l| failed.contains(*l)) {
                Some(cause) => {
                    failed.push(link);
                    Verdict::NotChecked(format!("rests on {cause}, which does not hold"))
                }
                None => run.check(link).unwrap_or_else(|why| {
                    failed.push(link);
                    Verdict::Broken(why.into_owned())
                }),
            };
            links.push(LinkReport { link, verdict });
        }
        Report { id: self.id, time: self.time(), links, unanchored: run.unanchored() }
    }
}

struct Run<'a> {
    receipt: &'a Receipt,
    anchors: &'a Anchors,
    findings: Option<&'a [SettlementFinding]>,
}

impl Run<'_> {
    fn check(&self, link: Link) -> Checked {
        match link {
            Link::Registration => self.registration(),
            Link::Message => self.message(),
            Link::Payload => self.payload(),
            Link::Genesis => self.genesis(),
            Link::Ordering => self.ordering(),
            Link::Attestation => self.attestation(),
            Link::Execution => self.execution(),
            Link::Programs => self.programs(),
            Link::Proof => self.receipt.check_proofs(self.findings),
            Link::Settlement => self.receipt.check_settlements(self.anchors, self.findings),
        }
    }

    /// What the reader's anchors do not reach.
    fn unanchored(&self) -> Vec<Link> {
        let Anchors { devices, any_registered_device, genesis, programs: _, blocks } = self.anchors;
        let signed = self.receipt.message.header().is_some();
        let mut links = Vec::new();
        if signed && devices.is_empty() && !any_registered_device {
            links.push(Link::Message);
        }
        if genesis.is_empty() {
            links.push(Link::Genesis);
        }
        // Whoever leaves away all outputs, a rejection perhaps, must not get a clean verdict.
        if self.receipt.execution.outputs.is_empty() {
            links.push(Link::Execution);
        }
        if !self.receipt.settlements.is_empty() && (blocks.is_empty() || self.findings.is_none()) {
            links.push(Link::Settlement);
        }
        links
    }

    /// Looks at the registration alone: whether it is of the device that signed is for [`Self::message`].
    fn registration(&self) -> Checked {
        let given = match (&self.receipt.message, &self.receipt.registration) {
            (MessageLink::Token(_), None) => {
                return Ok(Verdict::NotChecked("a token message has no key".into()));
            }
            (MessageLink::Trigger(_), None) => {
                return Ok(Verdict::NotChecked("a trigger has no key".into()));
            }
            (MessageLink::Session(_), None) => {
                return Ok(Verdict::NotChecked("a session message is not signed by the device".into()));
            }
            (MessageLink::Session(_), Some(_)) => {
                return Err("a session message has no key, but one is given".into());
            }
            (MessageLink::Trigger(_), Some(_)) => {
                return Err("a trigger has no key, but one is given".into());
            }
            (MessageLink::Token(_), Some(_)) => {
                return Err("a token message has no key, but one is given".into());
            }
            (_, None) => return Err("the device's key is missing".into()),
            (_, Some(given)) => given,
        };
        if !matches!(given.device.method(), "key" | "jwk") {
            return Ok(Verdict::Claimed("the node, as the project registered it".into()));
        }
        let own = given.device.embedded_key().map_err(|e| e.to_string())?;
        if own != given.key {
            return Err("the key is not the one that the DID itself is".into());
        }
        Ok(Verdict::Proven("the DID, which is the key".into()))
    }

    fn message(&self) -> Checked {
        let receipt = self.receipt;
        let id = receipt.message.id();
        if id != receipt.id {
            return Err(format!("its id is {id}").into());
        }
        let (signer, registration) = match (&receipt.message, &receipt.registration) {
            (MessageLink::Token(t), _) => {
                check_event_id(&t.event_id).map_err(|e| e.to_string())?;
                let by = format!("token of {}, as the ingress node says", t.publisher);
                return Ok(Verdict::Claimed(by));
            }
            (MessageLink::Trigger(t), _) => {
                check_event_id(&t.header.event_id).map_err(|e| e.to_string())?;
                let by = format!("trigger {}, as the members saw {}", t.header.trigger, t.header.event_id);
                return Ok(Verdict::Claimed(by));
            }
            (MessageLink::Session(s), _) => return self.session(s),
            (_, None) => return Err("there is no key to check the signature with".into()),
            (MessageLink::Envelope(e), Some(registration)) => (&e.header.key, registration),
            (MessageLink::Jws(j), Some(registration)) => (&j.compact.header().key, registration),
        };
        let RegistrationLink { device, key } = registration;
        if signer.did() != *device {
            return Err(format!("{} signed, the registration is of {device}", signer.did()).into());
        }
        // A did:key and a did:jwk have one key, with one name; another method's names are its document's.
        if matches!(device.method(), "key" | "jwk") && *signer != device.default_key_id() {
            return Err(format!("{signer} is no key of {device}").into());
        }
        match &receipt.message {
            MessageLink::Envelope(e) => key.verify(&e.header.to_canonical(), &e.signature),
            MessageLink::Jws(j) => j.compact.verify(key),
            MessageLink::Token(_) | MessageLink::Trigger(_) | MessageLink::Session(_) => Ok(()),
        }
        .map_err(|e| e.why)?;
        self.anchored(device)?;
        Ok(Verdict::Proven(format!("device {device}, {} signature", key.algorithm())))
    }

    /// The node's word that a device's session sent the message.
    fn session(&self, link: &SessionLink) -> Checked {
        check_event_id(&link.event_id).map_err(|e| e.to_string())?;
        let SessionLink { device, node, .. } = link;
        let genesis = &self.receipt.genesis;
        // A genesis that does not hold is its own link's to name.
        if genesis.check().is_ok() && !genesis.members.iter().any(|m| m.did == *node) {
            return Err(format!("the node {node} is no member of the subnet").into());
        }
        self.anchored(device)?;
        Ok(Verdict::Claimed(format!("session, vouched by node {node} for device {device}")))
    }

    fn anchored(&self, device: &Did) -> Result<(), Cow<'static, str>> {
        if !self.anchors.devices.is_empty() && !self.anchors.devices.contains(device) {
            return Err(format!("the device {device} is not among the anchors").into());
        }
        Ok(())
    }

    fn payload(&self) -> Checked {
        Ok(match &self.receipt.message {
            MessageLink::Token(_) => {
                Verdict::NotChecked("a token message's id does not bind its body".into())
            }
            MessageLink::Session(_) => {
                Verdict::NotChecked("a session message's id does not bind its body".into())
            }
            MessageLink::Trigger(t) => match &t.payload {
                None => Verdict::NotChecked("the receipt has only its digest".into()),
                Some(p) if Digest::of(p) == t.header.payload_digest => {
                    Verdict::Proven("the message's id, which covers its digest".into())
                }
                Some(_) => return Err("is not the one of the digest".into()),
            },
            MessageLink::Jws(_) => Verdict::Proven("device, inside what it signed".into()),
            MessageLink::Envelope(e) => match &e.payload {
                None => Verdict::NotChecked("the receipt has only its salted digest".into()),
                Some(p) if payload_digest(&p.salt, &p.data) == e.header.payload_digest => {
                    Verdict::Proven("device, whose signature covers its digest".into())
                }
                Some(_) => return Err("is not the one of the signed digest".into()),
            },
        })
    }

    fn genesis(&self) -> Checked {
        let genesis = &self.receipt.genesis;
        genesis.check().map_err(|e| e.why)?;
        let digest = genesis.digest();
        if self.anchors.genesis.is_empty() {
            return Ok(Verdict::Claimed(format!("this receipt alone, genesis {digest}")));
        }
        if !self.anchors.genesis.contains(&digest) {
            return Err(format!("the genesis {digest} is not among the anchors").into());
        }
        Ok(Verdict::Proven(format!("your anchors, genesis {digest}")))
    }

    fn of_members(&self, signed: usize) -> String {
        format!("{signed} of {}", self.receipt.genesis.members.len())
    }

    fn ordering(&self) -> Checked {
        let (receipt, ordering) = (self.receipt, &self.receipt.ordering);
        if receipt.message.project() != receipt.genesis.project {
            return Err("the message is for another project than the subnet".into());
        }
        ordering.certificate.verify(&receipt.genesis, &ordering.header).map_err(|e| e.why)?;
        let leaf = Entry::Message(receipt.id).leaf();
        let position = (ordering.index, ordering.header.entry_count);
        merkle::verify("ordering", leaf, position, &ordering.path, &ordering.header.entries_root)
            .map_err(|e| e.why)?;
        Ok(Verdict::Proven(self.of_members(ordering.certificate.signatures.len())))
    }

    fn attestation(&self) -> Checked {
        let (receipt, attestation) = (self.receipt, &self.receipt.attestation);
        attestation.verify(&receipt.genesis).map_err(|e| e.why)?;
        let (statement, header) = (&attestation.statement, &receipt.ordering.header);
        if (statement.block, statement.height) != (header.digest(), header.height) {
            return Err("is of another block".into());
        }
        Ok(Verdict::Proven(self.of_members(attestation.signatures.len())))
    }

    fn execution(&self) -> Checked {
        let root = &self.receipt.attestation.statement.outputs_root;
        let outputs = &self.receipt.execution.outputs;
        for link in outputs {
            let leaf = link.output.leaf(link.index);
            merkle::verify_steps("execution", leaf, &link.path, root)
                .map_err(|_| format!("output {} is not under the attested root", link.index))?;
        }
        self.about_message(outputs)?;
        if outputs.is_empty() {
            return Ok(Verdict::NotChecked("no output of the block is shown".into()));
        }
        Ok(Verdict::Proven(self.of_members(self.receipt.attestation.signatures.len())))
    }

    /// Each output is this message's rejection, a result of it, or one that such a result counts as its own;
    /// all that a result counts are there, and so are the results of all calls: with the message, and with each event
    /// that its handlers sent.
    fn about_message(&self, outputs: &[OutputLink]) -> Result<(), Cow<'static, str>> {
        let id = self.receipt.id;
        let (mut rest, mut calls) = (outputs, Calls::default());
        while let Some((first, after)) = rest.split_first() {
            if first.output.target != id.0.as_bytes() {
                return Err(format!("output {} is about something else", first.index).into());
            }
            let owned = match first.output.kind {
                OutputKind::Rejected if outputs.len() == 1 => 0,
                OutputKind::Result => {
                    let result = result_of(first, self.receipt)?;
                    calls.next(&result)?;
                    result.outputs
                }
                kind => return Err(format!("output {} is an unexpected {kind:?}", first.index).into()),
            };
            let owned = usize::try_from(owned).ok().and_then(|n| after.split_at_checked(n));
            let (own, next) =
                owned.ok_or_else(|| format!("not all outputs of result {} are there", first.index))?;
            for (place, link) in (first.index.saturating_add(1)..).zip(own) {
                let known = matches!(
                    link.output.kind,
                    OutputKind::Mqtt
                        | OutputKind::Metric
                        | OutputKind::Settlement
                        | OutputKind::Transaction
                        | OutputKind::Answer
                        | OutputKind::Event
                );
                if link.index != place || !known {
                    return Err(format!("output {} is not result {}'s", link.index, first.index).into());
                }
                calls.sent(&link.output)?;
            }
            let last = own.last().unwrap_or(first).index;
            if next.first().is_some_and(|n| n.index <= last) {
                return Err("outputs must be ascending, each once".into());
            }
            rest = next;
        }
        calls.finish()
    }

    fn programs(&self) -> Checked {
        let receipt = self.receipt;
        if receipt.manifest != receipt.attestation.statement.manifest {
            return Err("the attested manifest is another".into());
        }
        let ran: Vec<_> = receipt.results().iter().map(|r| (r.program, r.instrumented)).collect();
        let named: Vec<_> = receipt.programs.iter().map(|p| (p.program, p.instrumented)).collect();
        if ran != named {
            return Err("are not those that the results name".into());
        }
        if ran.is_empty() {
            return Ok(Verdict::NotChecked("no program ran".into()));
        }
        let known = &self.anchors.programs;
        if known.is_empty() {
            return Ok(Verdict::Proven(self.of_members(receipt.attestation.signatures.len())));
        }
        match ran.iter().find(|(program, _)| !known.contains(program)) {
            Some((program, _)) => Err(format!("the program {program} is not among the anchors").into()),
            None => Ok(Verdict::Proven("your anchors".into())),
        }
    }
}

/// The calls of a message as its results count them: those with the message itself, then those with each event that its
/// handlers sent, in the order in which they sent them.
#[derive(Default)]
struct Calls {
    /// The event whose results come now; `None` while they are the message's own.
    event: Option<Digest>,
    seen: u64,
    all: u64,
    /// Events whose handlers have not run yet, and how many they are.
    waiting: VecDeque<(Digest, u64)>,
}

impl Calls {
    fn next(&mut self, result: &ResultRecord) -> Result<(), Cow<'static, str>> {
        if self.event.is_none() && self.seen == 0 && result.event.is_none() {
            self.all = result.calls;
        }
        self.go_on();
        if result.event != self.event {
            return Err(format!("a result is of another event than {}", self.of()).into());
        }
        if (result.call, result.calls) != (self.seen, self.all) {
            let (call, seen, all) = (result.call, self.seen, self.all);
            return Err(
                format!("a result says call {call} of {}, after {seen} of {all}", result.calls).into()
            );
        }
        self.seen += 1;
        Ok(())
    }

    /// Notes an event, if the output is one.
    fn sent(&mut self, output: &Output) -> Result<(), Cow<'static, str>> {
        if output.kind == OutputKind::Event {
            let event = EventRecord::from_canonical(&output.data).map_err(|e| e.to_string())?;
            self.waiting.push_back((event.id, event.calls));
        }
        Ok(())
    }

    /// Goes to the next event with handlers, if all results of this one were seen.
    fn go_on(&mut self) {
        while self.seen == self.all
            && let Some((event, calls)) = self.waiting.pop_front()
        {
            (self.event, self.seen, self.all) = (Some(event), 0, calls);
        }
    }

    fn of(&self) -> String {
        self.event.map_or_else(|| "the message".to_owned(), |event| event.to_string())
    }

    fn finish(mut self) -> Result<(), Cow<'static, str>> {
        self.go_on();
        if self.seen == self.all {
            return Ok(());
        }
        Err(format!("the results of {} of {} calls with {} are there", self.seen, self.all, self.of()).into())
    }
}

fn result_of(link: &OutputLink, receipt: &Receipt) -> Result<ResultRecord, Cow<'static, str>> {
    let record = ResultRecord::from_canonical(&link.output.data).map_err(|e| e.to_string())?;
    if record.message != receipt.id {
        return Err(format!("result {} is of another message", link.index).into());
    }
    Ok(record)
}
