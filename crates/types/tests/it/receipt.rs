//! Receipts: what holds, by whose word, and what anchors are for.

use w3bstream_types::receipt::{
    Anchors, ChainBlock, Link, MessageLink, MessageTime, OutputLink, ProofFinding, Receipt, ReceiptParts,
    SettlementFinding, Verdict,
};
use w3bstream_types::*;

use crate::sample::{self, Scenario, Subnet};

fn anchors(s: &Scenario, at: usize) -> Anchors {
    Anchors {
        devices: s.messages[at].0.device().into_iter().collect(),
        any_registered_device: false,
        genesis: vec![s.subnet.genesis.digest()],
        programs: vec![Digest::of(b"alarm"), Digest::of(b"archive")],
        blocks: vec![],
    }
}

fn verdict(receipt: &Receipt, anchors: Option<&Anchors>, link: Link) -> Verdict {
    receipt.verify(anchors).verdict(link).unwrap().clone()
}

fn is_proven(verdict: &Verdict, by: &str) -> bool {
    matches!(verdict, Verdict::Proven(text) if text.contains(by))
}

#[test]
fn a_true_receipt_says_by_whom_each_link_is_proven() {
    let s = Scenario::new(4, 3);
    let receipt = s.receipt(sample::ENVELOPE, true);
    let report = receipt.verify(Some(&anchors(&s, sample::ENVELOPE)));
    assert!(report.is_ok() && report.anchored(), "{report}");
    let device = s.messages[sample::ENVELOPE].0.device().unwrap();
    for (link, by) in [
        (Link::Registration, "the DID"),
        (Link::Message, device.as_str()),
        (Link::Payload, "device"),
        (Link::Genesis, "your anchors"),
        (Link::Ordering, "3 of 4"),
        (Link::Attestation, "3 of 4"),
        (Link::Execution, "3 of 4"),
        (Link::Programs, "your anchors"),
    ] {
        assert!(is_proven(report.verdict(link).unwrap(), by), "{report}");
    }
    assert!(report.to_string().ends_with("verified against your anchors"), "{report}");
    assert_eq!(receipt.results().len(), 2);
    assert_eq!(receipt.execution.outputs.len(), 4);
}

#[test]
fn one_member_is_one_of_one() {
    let s = Scenario::new(1, 1);
    for at in
        [sample::ENVELOPE, sample::JWS, sample::TOKEN, sample::TRIGGER, sample::REJECTED, sample::UNROUTED]
    {
        let receipt = s.receipt(at, false);
        assert!(is_proven(&verdict(&receipt, None, Link::Ordering), "1 of 1"));
        assert!(receipt.verify(Some(&anchors(&s, at))).is_ok());
    }
}

#[test]
fn without_anchors_a_receipt_is_only_consistent() {
    let s = Scenario::new(1, 1);
    let receipt = s.receipt(sample::JWS, false);
    let report = receipt.verify(None);
    assert!(report.is_ok() && !report.anchored());
    assert_eq!(report.unanchored, [Link::Message, Link::Genesis, Link::Settlement]);
    assert!(matches!(report.verdict(Link::Genesis), Some(Verdict::Claimed(_))));
    assert!(
        report.to_string().contains("consistent, not anchored: message, genesis, settlement"),
        "{report}"
    );
}

#[test]
fn knowing_public_digests_anchors_nothing() {
    let s = Scenario::new(1, 1);
    let receipt = s.receipt(sample::ENVELOPE, false);
    let full = anchors(&s, sample::ENVELOPE);
    let only = |change: fn(&mut Anchors)| {
        let mut some = full.clone();
        change(&mut some);
        receipt.verify(Some(&some)).anchored()
    };
    assert!(only(|_| ()));
    assert!(!only(|a| a.genesis.clear()));
    assert!(!only(|a| a.devices.clear()));
    assert!(only(|a| (a.devices.clear(), a.any_registered_device = true).1));
    assert!(only(|a| a.programs.clear()));
}

#[test]
fn a_wholly_forged_receipt_fails_against_real_anchors() {
    // Everything is consistent: own device, own subnet, the real program's digest. Only it is not the real one.
    let real = Scenario::new(4, 3);
    let forged = Scenario::new(1, 1);
    let receipt = forged.receipt(sample::ENVELOPE, true);
    assert!(receipt.verify(None).is_ok());
    let report = receipt.verify(Some(&anchors(&real, sample::ENVELOPE)));
    assert_eq!(report.first_broken().unwrap().0, Link::Genesis, "{report}");
    assert!(!report.anchored());
    assert!(matches!(report.verdict(Link::Attestation), Some(Verdict::NotChecked(_))));

    // A real subnet's block, but another device than the one that is known.
    let receipt = real.receipt(sample::ENVELOPE, true);
    let report = receipt.verify(Some(&anchors(&real, sample::JWS)));
    assert_eq!(report.first_broken().unwrap().0, Link::Message, "{report}");

    let mut other = anchors(&real, sample::ENVELOPE);
    other.programs.pop();
    assert_eq!(receipt.verify(Some(&other)).first_broken().unwrap().0, Link::Programs);
}

#[test]
fn links_of_other_true_receipts_do_not_fit() {
    let (a, b) = (Scenario::new(4, 3), Scenario::new(1, 1));
    let good = a.receipt(sample::ENVELOPE, false);
    let (same_block, other) = (a.receipt(sample::JWS, false), b.receipt(sample::ENVELOPE, false));
    let broken = |change: &dyn Fn(&mut Receipt)| {
        let mut receipt = good.clone();
        change(&mut receipt);
        receipt.verify(None).first_broken().map(|(link, _)| link)
    };
    assert_eq!(broken(&|r| r.message = same_block.message.clone()), Some(Link::Message));
    assert_eq!(broken(&|r| r.ordering = same_block.ordering.clone()), Some(Link::Ordering));
    assert_eq!(broken(&|r| r.execution = same_block.execution.clone()), Some(Link::Execution));
    assert_eq!(broken(&|r| r.execution.outputs.clear()), Some(Link::Programs));
    assert_eq!(broken(&|r| r.genesis = other.genesis.clone()), Some(Link::Ordering));
    assert_eq!(broken(&|r| r.attestation = other.attestation.clone()), Some(Link::Attestation));
    assert_eq!(broken(&|r| r.ordering = other.ordering.clone()), Some(Link::Ordering));
    // The same subnet's true attestation of another block.
    let mut next = a.attestation.statement.clone();
    next.block = Digest::of(b"another block");
    assert_eq!(broken(&|r| r.attestation = a.subnet.attest(next.clone(), 3)), Some(Link::Attestation));
    // Outputs of this block that are about another message, hidden behind the right ones.
    let mixed = [&good.execution.outputs[..], &same_block.execution.outputs[..]].concat();
    assert_eq!(broken(&|r| r.execution.outputs = mixed.clone()), Some(Link::Execution));
}

#[test]
fn more_signatures_than_a_quorum_can_be_left_away_and_the_verdict_says_so() {
    let s = Scenario::new(4, 4);
    let mut receipt = s.receipt(sample::ENVELOPE, false);
    assert!(is_proven(&verdict(&receipt, None, Link::Attestation), "4 of 4"));
    receipt.attestation.signatures.pop();
    assert!(is_proven(&verdict(&receipt, None, Link::Attestation), "3 of 4"));
    receipt.attestation.signatures.pop();
    assert!(matches!(verdict(&receipt, None, Link::Attestation), Verdict::Broken(_)));
}

#[test]
fn a_token_is_claimed_and_never_proven() {
    let s = Scenario::new(4, 3);
    let receipt = s.receipt(sample::TOKEN, true);
    let report = receipt.verify(Some(&anchors(&s, sample::TOKEN)));
    assert!(report.anchored(), "{report}");
    assert!(
        matches!(report.verdict(Link::Message), Some(Verdict::Claimed(by)) if by.contains("ingress node"))
    );
    assert!(matches!(report.verdict(Link::Payload), Some(Verdict::NotChecked(_))));
    assert!(matches!(report.verdict(Link::Registration), Some(Verdict::NotChecked(_))));
    assert!(!receipt.to_json().unwrap().contains(&hex::encode(b"22.5")), "the body is not in the file");
    let mut with_key = receipt.clone();
    with_key.registration = s.receipt(sample::ENVELOPE, false).registration;
    assert_eq!(with_key.verify(None).first_broken().unwrap().0, Link::Registration);
}

#[test]
fn a_session_is_claimed_by_a_member_and_its_jwt_is_not_in_the_file() {
    let s = Scenario::of_session(4, 3);
    let receipt = s.receipt(0, true);
    let token = sample::session_token();
    let (device, node) = (&token.claims().device, &token.claims().node);
    let known = Anchors { devices: vec![device.clone()], ..anchors(&s, 0) };
    let report = receipt.verify(Some(&known));
    assert!(report.anchored(), "{report}");
    let words = format!("vouched by node {node} for device {device}");
    assert!(report.to_string().contains(&words), "{report}");
    assert!(matches!(report.verdict(Link::Message), Some(Verdict::Claimed(_))));
    for link in [Link::Payload, Link::Registration] {
        assert!(matches!(report.verdict(link), Some(Verdict::NotChecked(_))), "{link}");
    }
    let json = receipt.to_json().unwrap();
    assert!(!json.contains(token.compact()) && !json.contains(&hex::encode(b"22.5")));
    assert_eq!(Receipt::from_json(json.as_bytes()).unwrap(), receipt);
    assert_eq!(Receipt::from_canonical(&receipt.to_canonical()).unwrap(), receipt);
    // Another device than those that the reader knows, and a node that is no member.
    let others = Anchors { devices: vec![sample::owner()], ..anchors(&s, 0) };
    assert_eq!(receipt.verify(Some(&others)).first_broken().unwrap().0, Link::Message);
    let mut stranger = receipt.clone();
    let MessageLink::Session(session) = &mut stranger.message else { unreachable!() };
    session.node = sample::owner();
    assert_eq!(stranger.verify(None).first_broken().unwrap().0, Link::Message);
    let mut with_key = receipt.clone();
    with_key.registration = Scenario::new(4, 3).receipt(sample::ENVELOPE, false).registration;
    assert_eq!(with_key.verify(None).first_broken().unwrap().0, Link::Registration);
}

#[test]
fn a_triggers_message_is_claimed_and_its_payload_bound() {
    let s = Scenario::new(4, 3);
    let receipt = s.receipt(sample::TRIGGER, true);
    let report = receipt.verify(Some(&anchors(&s, sample::TRIGGER)));
    assert!(report.anchored(), "{report}");
    let by_members = |by: &str| by.contains("transfers") && by.contains("4690:7:0");
    assert!(
        matches!(report.verdict(Link::Message), Some(Verdict::Claimed(by)) if by_members(by)),
        "{report}"
    );
    assert!(matches!(report.verdict(Link::Payload), Some(Verdict::Proven(_))), "{report}");
    assert!(matches!(report.verdict(Link::Registration), Some(Verdict::NotChecked(_))), "{report}");
    let mut other = receipt.clone();
    let MessageLink::Trigger(link) = &mut other.message else { unreachable!() };
    link.payload = Some(b"{}".to_vec());
    assert_eq!(other.verify(None).first_broken().unwrap().0, Link::Payload);
    let mut with_key = receipt;
    with_key.registration = s.receipt(sample::ENVELOPE, false).registration;
    assert_eq!(with_key.verify(None).first_broken().unwrap().0, Link::Registration);
}

#[test]
fn a_default_receipt_holds_neither_payload_nor_salt() {
    let s = Scenario::new(1, 1);
    let (record, _) = &s.messages[sample::ENVELOPE];
    let Form::Envelope(envelope) = record.form() else { unreachable!() };
    let json = s.receipt(sample::ENVELOPE, false).to_json().unwrap();
    for secret in [envelope.salt().to_vec(), envelope.payload().to_vec()] {
        assert!(!json.contains(&hex::encode(&secret)));
        let cbor = s.receipt(sample::ENVELOPE, false).to_canonical();
        assert!(!cbor.windows(secret.len()).any(|w| w == secret));
    }
    assert!(matches!(
        verdict(&s.receipt(sample::ENVELOPE, false), None, Link::Payload),
        Verdict::NotChecked(_)
    ));
    assert!(s.receipt(sample::ENVELOPE, true).to_json().unwrap().contains(&hex::encode(envelope.payload())));
}

#[test]
fn a_rejected_message_and_one_that_no_handler_took_have_receipts() {
    let s = Scenario::new(4, 3);
    let rejected = s.receipt(sample::REJECTED, false);
    assert!(is_proven(&verdict(&rejected, None, Link::Execution), "3 of 4"));
    assert!(matches!(verdict(&rejected, None, Link::Programs), Verdict::NotChecked(_)));
    assert!(rejected.verify(Some(&anchors(&s, sample::REJECTED))).anchored());
    let unrouted = s.receipt(sample::UNROUTED, false);
    assert!(matches!(verdict(&unrouted, None, Link::Execution), Verdict::NotChecked(_)));
    assert_eq!(unrouted.verify(Some(&anchors(&s, sample::UNROUTED))).unanchored, [Link::Execution]);
}

#[test]
fn a_did_that_is_a_key_has_no_other_key() {
    let s = Scenario::new(1, 1);
    let mut receipt = s.receipt(sample::ENVELOPE, false);
    let MessageLink::Envelope(envelope) = &mut receipt.message else { unreachable!() };
    // Signed anew, so that only the key's id is wrong.
    let did = envelope.header.key.did();
    envelope.header.key = format!("{did}#key-2").parse().unwrap();
    envelope.signature = sample::key(Algorithm::EdDSA, 10).sign(&envelope.header.to_canonical());
    receipt.id = receipt.message.id();
    assert_eq!(receipt.verify(None).first_broken().unwrap().0, Link::Message);
}

#[test]
fn the_time_is_the_devices_or_the_blocks() {
    let s = Scenario::new(1, 1);
    let device = s.receipt(sample::ENVELOPE, false).time();
    assert_eq!(device, MessageTime::Device(Timestamp(1_700_000_000_000)));
    assert_eq!(s.receipt(sample::TOKEN, false).time(), MessageTime::Block(Timestamp(1_700_000_000_500)));
}

#[test]
fn a_node_makes_no_receipt_that_does_not_hold() {
    let s = Scenario::new(4, 3);
    let (record, key) = &s.messages[sample::ENVELOPE];
    let parts = ReceiptParts {
        record,
        key: key.as_ref(),
        with_payload: false,
        block: &s.block,
        outputs: &s.outputs,
        attestation: &s.attestation,
        genesis: &s.subnet.genesis,
        settlements: &[],
    };
    Receipt::assemble(parts).unwrap();
    let link = |parts| Receipt::assemble(parts).unwrap_err().link;
    assert_eq!(link(ReceiptParts { key: None, ..parts }), "registration");
    assert_eq!(link(ReceiptParts { key: s.messages[sample::JWS].1.as_ref(), ..parts }), "registration");
    let stranger = sample::envelope(Algorithm::EdDSA, 44).0;
    assert_eq!(link(ReceiptParts { record: &stranger, ..parts }), "ordering");
    assert_eq!(link(ReceiptParts { outputs: &s.outputs[..8], ..parts }), "execution");
    let few = Scenario::new(4, 2);
    assert_eq!(link(ReceiptParts { attestation: &few.attestation, ..parts }), "attestation");
    assert_eq!(link(ReceiptParts { block: &few.block, ..parts }), "ordering");
    assert_eq!(link(ReceiptParts { genesis: &Scenario::new(1, 1).subnet.genesis, ..parts }), "ordering");
}

/// What a quorum signs must also make sense.
#[test]
fn a_quorum_cannot_sign_nonsense() {
    let messages = || Scenario::new(1, 1).messages;
    let about = |outputs: Vec<Output>| {
        Scenario::of(Subnet::new(1), 1, messages(), outputs).try_receipt(sample::ENVELOPE, false)
    };
    let all = messages();
    let (this, that) = (&all[sample::ENVELOPE].0, &all[sample::JWS].0);
    let mqtt = || sample::other(OutputKind::Mqtt, b"topic", b"");
    let rejected = sample::other(OutputKind::Rejected, this.id().digest().as_bytes(), b"revoked");
    let misnamed =
        Output { target: this.id().digest().as_bytes().to_vec(), ..sample::result(that, "alarm", (0, 1), 0) };
    let unnamed = Output { target: b"x".to_vec(), ..sample::result(this, "alarm", (0, 1), 0) };
    about(vec![sample::result(this, "alarm", (0, 1), 1), mqtt()]).unwrap();
    // Nothing is found of it, so nothing is shown.
    assert!(about(vec![unnamed.clone()]).unwrap().execution.outputs.is_empty());
    for (what, outputs) in [
        ("a result of another message", vec![misnamed]),
        ("results and a rejection", vec![sample::result(this, "alarm", (0, 1), 0), rejected.clone()]),
        ("a rejection and results", vec![rejected.clone(), sample::result(this, "alarm", (0, 1), 0)]),
        ("two rejections", vec![rejected.clone(), rejected]),
        ("one of two calls", vec![sample::result(this, "alarm", (0, 2), 0)]),
        ("the other of two calls", vec![sample::result(this, "archive", (1, 2), 0)]),
        ("a call of none", vec![sample::result(this, "alarm", (0, 0), 0)]),
        (
            "calls that disagree on how many they are",
            vec![sample::result(this, "alarm", (0, 2), 0), sample::result(this, "archive", (1, 3), 0)],
        ),
        (
            "the same call twice",
            vec![sample::result(this, "alarm", (0, 2), 0), sample::result(this, "alarm", (0, 2), 0)],
        ),
        ("outputs that are not there", vec![sample::result(this, "alarm", (0, 1), 2), mqtt()]),
        (
            "a result inside a result",
            vec![sample::result(this, "alarm", (0, 2), 1), sample::result(this, "archive", (1, 2), 0)],
        ),
    ] {
        assert_eq!(about(outputs).unwrap_err().link, "execution", "{what}");
    }
    // A receipt that shows the unnamed one all the same, with its true path.
    let s = Scenario::of(Subnet::new(1), 1, messages(), vec![unnamed.clone()]);
    let mut receipt = s.receipt(sample::ENVELOPE, false);
    receipt.execution.outputs = vec![OutputLink { index: 0, output: unnamed, path: vec![] }];
    assert_eq!(receipt.verify(None).first_broken().unwrap().0, Link::Execution);
}

/// The results of events stand behind those of the message, in the order in which the events were sent, all of them.
#[test]
fn results_of_events_are_all_there_and_in_order() {
    let messages = || Scenario::new(1, 1).messages;
    let all = messages();
    let this = &all[sample::ENVELOPE].0;
    let about = |outputs: Vec<Output>| {
        let s = Scenario::of(Subnet::new(1), 1, messages(), outputs);
        let (record, key) = &s.messages[sample::ENVELOPE];
        Receipt::assemble(ReceiptParts {
            record,
            key: key.as_ref(),
            with_payload: false,
            block: &s.block,
            outputs: &s.outputs,
            attestation: &s.attestation,
            genesis: &s.subnet.genesis,
            settlements: &[],
        })
    };
    let (first, second) =
        (sample::event(), EventRecord { id: Digest::of(b"2"), calls: 1, ..sample::event() });
    let nobodys = EventRecord { id: Digest::of(b"3"), calls: 0, ..sample::event() };
    let sent = |event: &EventRecord| event.to_output(&"seen".parse().unwrap());
    let own = |call, outputs| sample::result(this, "alarm", call, outputs);
    let of = |event: &EventRecord, call, outputs| {
        sample::result_of_event(event.id, sample::result(this, "archive", call, outputs))
    };
    let good = vec![
        own((0, 2), 2),
        sent(&first),
        sent(&nobodys),
        own((1, 2), 0),
        of(&first, (0, 2), 1),
        sent(&second),
        of(&first, (1, 2), 0),
        of(&second, (0, 1), 0),
    ];
    let receipt = about(good.clone()).unwrap();
    assert_eq!(receipt.execution.outputs.len(), good.len());
    let json = receipt.to_json().unwrap();
    assert_eq!(Receipt::from_json(json.as_bytes()).unwrap(), receipt);
    let without = |at: usize| [&good[..at], &good[at + 1..]].concat();
    let moved = |from: usize, to: usize| {
        let mut outputs = without(from);
        outputs.insert(to, good[from].clone());
        outputs
    };
    for (what, outputs) in [
        ("the last event's result is left away", without(7)),
        ("one of two results of an event is left away", without(6)),
        ("both are left away", [&good[..4], &good[7..]].concat()),
        ("an event's results come before the message's", moved(3, 4)),
        ("a result of an event that nobody sent", [good.clone(), vec![of(&nobodys, (0, 1), 0)]].concat()),
        ("a message's result behind an event's", [good.clone(), vec![own((2, 3), 0)]].concat()),
        ("the second event's before the first's", moved(7, 4)),
        (
            "an event that is none",
            vec![own((0, 1), 1), sample::other(OutputKind::Event, b"seen", b"nothing")],
        ),
        ("an event's result alone", vec![of(&first, (0, 2), 0), of(&first, (1, 2), 0)]),
    ] {
        assert_eq!(about(outputs).unwrap_err().link, "execution", "{what}");
    }
}

#[test]
fn a_quorum_cannot_sign_for_another_project_or_for_members_who_do_not_vouch() {
    let key = sample::key(Algorithm::EdDSA, 10);
    let did = Did::key(&key.public());
    let draft = Draft { audience: ProjectId(Digest::of(b"another")), ..sample::draft(&did, 1) };
    let record = Record::new(Form::Envelope(draft.sign_envelope([0; 16], &key)));
    let s = Scenario::of(Subnet::new(1), 1, vec![(record, Some(key.public()))], vec![]);
    assert_eq!(s.try_receipt(0, false).unwrap_err().link, "ordering");

    let mut subnet = Subnet::new(4);
    subnet.genesis.members[1].by_consensus[9] ^= 1;
    let s = Scenario::of(subnet, 3, Scenario::new(1, 1).messages, vec![]);
    assert_eq!(s.try_receipt(sample::ENVELOPE, false).unwrap_err().link, "genesis");
}

#[test]
fn what_is_shown_twice_is_noticed() {
    let s = Scenario::new(1, 1);
    let mut receipt = s.receipt(sample::ENVELOPE, false);
    receipt.execution.outputs = [&receipt.execution.outputs[..], &receipt.execution.outputs].concat();
    receipt.programs = [&receipt.programs[..], &receipt.programs].concat();
    assert_eq!(receipt.verify(None).first_broken().unwrap().0, Link::Execution);
}

#[test]
fn another_methods_key_is_claimed_and_only_for_its_device() {
    let key = sample::key(Algorithm::ES256, 9);
    let did: Did = "did:web:sensors.example".parse().unwrap();
    let record = Record::new(Form::Envelope(sample::draft(&did, 1).sign_envelope([0; 16], &key)));
    let s = Scenario::of(Subnet::new(1), 1, vec![(record, Some(key.public()))], vec![]);
    let mut receipt = s.receipt(0, false);
    assert!(matches!(verdict(&receipt, None, Link::Registration), Verdict::Claimed(_)));
    receipt.registration.as_mut().unwrap().device = "did:web:other.example".parse().unwrap();
    assert_eq!(receipt.verify(None).first_broken().unwrap().0, Link::Message);
}

#[test]
fn a_token_messages_event_id_is_one() {
    let mut receipt = Scenario::new(1, 1).receipt(sample::TOKEN, false);
    let MessageLink::Token(token) = &mut receipt.message else { unreachable!() };
    token.event_id = "two words".into();
    receipt.id = receipt.message.id();
    assert_eq!(receipt.verify(None).first_broken().unwrap().0, Link::Message);
}

#[test]
fn both_forms_hold_the_same() {
    let s = Scenario::new(4, 3);
    for at in
        [sample::ENVELOPE, sample::JWS, sample::TOKEN, sample::TRIGGER, sample::REJECTED, sample::UNROUTED]
    {
        for with_payload in [false, true] {
            let receipt = s.receipt(at, with_payload);
            let json = receipt.to_json().unwrap();
            assert_eq!(Receipt::from_json(json.as_bytes()).unwrap(), receipt);
            assert_eq!(Receipt::from_canonical(&receipt.to_canonical()).unwrap(), receipt);
        }
    }
}

#[test]
fn anchors_are_read_strictly() {
    let read = |text: &str| serde_json::from_str::<Anchors>(text);
    let digest = Digest::of(b"x");
    let text =
        format!(r#"{{"devices": ["did:web:a"], "genesis": ["{digest}"], "any-registered-device": true}}"#);
    let anchors = read(&text).unwrap();
    assert_eq!((anchors.devices.len(), anchors.genesis[0], anchors.programs.len()), (1, digest, 0));
    assert!(read(r#"{"device": ["did:web:a"]}"#).unwrap_err().to_string().contains("devices"));
    assert!(read(r#"{"devices": ["alice"]}"#).is_err());
    assert!(read(r#"{"genesis": ["abc"]}"#).is_err());
}

/// What a verifier found that looked at everything.
fn found(hash: [u8; 32]) -> SettlementFinding {
    SettlementFinding { block: Ok(hash), proof: ProofFinding::Holds("groth16-bn254".into()) }
}

#[test]
fn a_settlement_is_claimed_by_the_receipt_and_proven_by_an_anchor() {
    let s = Scenario::new(4, 3);
    let receipt = s.receipt(sample::JWS, false);
    assert_eq!(receipt.settlements.len(), 1);
    let mut anchors = anchors(&s, sample::JWS);
    let check = |anchors: &Anchors, finding: Option<SettlementFinding>| {
        let finding: Option<Vec<_>> = finding.map(|f| vec![f]);
        receipt.verify_with(Some(anchors), finding.as_deref())
    };
    // Who knows no chain says so, and the receipt is not anchored.
    let report = check(&anchors, None);
    assert!(matches!(report.verdict(Link::Settlement), Some(Verdict::NotChecked(_))), "{report}");
    assert!(matches!(report.verdict(Link::Proof), Some(Verdict::NotChecked(_))), "{report}");
    assert_eq!(report.unanchored, [Link::Settlement]);

    let block = ChainBlock { chain_id: sample::CHAIN, hash: [7; 32] };
    let report = check(&anchors, Some(found(block.hash)));
    assert!(
        matches!(report.verdict(Link::Settlement), Some(Verdict::Claimed(by)) if by.contains(&block.to_string()))
    );
    assert!(report.is_ok() && report.unanchored == [Link::Settlement], "{report}");

    anchors.blocks = vec![block];
    let report = check(&anchors, Some(found(block.hash)));
    assert!(report.anchored(), "{report}");
    assert!(is_proven(report.verdict(Link::Settlement).unwrap(), "your anchors"));
    assert!(is_proven(report.verdict(Link::Proof).unwrap(), "groth16-bn254"));

    let broken = |finding| check(&anchors, Some(finding)).first_broken().map(|(link, _)| link);
    assert_eq!(broken(found([8; 32])), Some(Link::Settlement));
    assert_eq!(
        broken(SettlementFinding { block: Err("no event".into()), ..found([7; 32]) }),
        Some(Link::Settlement)
    );
    let fails = ProofFinding::Fails("does not show it".into());
    assert_eq!(broken(SettlementFinding { proof: fails, ..found([7; 32]) }), Some(Link::Proof));
}

#[test]
fn settlements_are_those_of_the_messages_outputs() {
    let s = Scenario::new(1, 1);
    let good = s.receipt(sample::JWS, false);
    assert!(s.receipt(sample::ENVELOPE, false).settlements.is_empty(), "they are another message's");
    let broken = |change: &dyn Fn(&mut Receipt)| {
        let mut receipt = good.clone();
        change(&mut receipt);
        let findings = vec![found([7; 32]); receipt.settlements.len()];
        receipt.verify_with(None, Some(&findings)).first_broken().map(|(link, _)| link)
    };
    assert_eq!(broken(&|_| ()), None);
    assert_eq!(broken(&|r| r.settlements.push(r.settlements[0].clone())), Some(Link::Settlement));
    // The output before is an MQTT message.
    assert_eq!(broken(&|r| r.settlements[0].index -= 1), Some(Link::Proof));
    assert_eq!(
        broken(&|r| (r.settlements[0].index -= 1, r.settlements[0].proof = None).1),
        Some(Link::Settlement)
    );
    let rule =
        |change: fn(&mut Settlement)| broken(&|r| change(&mut r.settlements[0].proof.as_mut().unwrap().rule));
    assert_eq!(rule(|r| r.chain_id += 1), Some(Link::Proof));
    assert_eq!(rule(|r| r.contract = r.executor), Some(Link::Proof));
    assert_eq!(rule(|r| r.proof = None), Some(Link::Proof));
    let mut hidden = good.clone();
    hidden.settlements.clear();
    let verdict = verdict(&hidden, None, Link::Settlement);
    assert!(matches!(&verdict, Verdict::NotChecked(why) if why.contains("none of 1")), "{verdict}");
}

#[test]
fn blocks_of_chains_are_read_strictly() {
    let block = ChainBlock { chain_id: 31_337, hash: [0xab; 32] };
    let text = block.to_string();
    assert_eq!(text.parse::<ChainBlock>().unwrap(), block);
    let bad = [
        text.to_uppercase(),
        text.replacen("31337", "031337", 1),
        text.replacen("0x", "", 1),
        text[..70].into(),
    ];
    for bad in bad {
        assert!(bad.parse::<ChainBlock>().is_err(), "{bad}");
    }
    let anchors: Anchors = serde_json::from_str(&format!(r#"{{"blocks": ["{text}"]}}"#)).unwrap();
    assert_eq!(anchors.blocks, [block]);
}
