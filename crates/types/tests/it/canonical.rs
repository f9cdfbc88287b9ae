//! One value, one encoding; and no bytes make a reader panic.

use proptest::prelude::*;
use w3bstream_types::receipt::{OrderingLink, OutputLink, Receipt};
use w3bstream_types::*;

use crate::{sample, strategies as s};

/// What must hold for every value of every type.
fn check<T: Canonical + PartialEq + std::fmt::Debug>(value: &T, at: usize, flip: u8) {
    let bytes = value.to_canonical();
    assert_eq!(&T::from_canonical(&bytes).unwrap(), value);
    assert!(T::from_canonical(&bytes[..at % bytes.len()]).is_err(), "cut off");
    assert!(T::from_canonical(&[&bytes[..], &[0]].concat()).is_err(), "extended");
    let mut other = bytes.clone();
    let place = at % other.len();
    other[place] ^= flip;
    // Other bytes are either refused or another value, whose own encoding they are.
    if let Ok(decoded) = T::from_canonical(&other) {
        assert_ne!(&decoded, value);
        assert_eq!(decoded.to_canonical(), other);
    }
}

macro_rules! round_trips {
    ($($name:ident: $strategy:expr;)+) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(96))]
            $(
                #[test]
                fn $name(value in $strategy, at in any::<usize>(), flip in 1..=255u8) {
                    check(&value, at, flip);
                }
            )+
        }
    };
}

round_trips! {
    header: s::header();
    envelope: s::envelope();
    jws: s::jws();
    token: s::token();
    session_message: s::session_message();
    trigger_message: s::trigger_message();
    trigger_header: s::trigger_header();
    trigger: s::trigger();
    log_trigger: s::log_trigger();
    height_trigger: s::height_trigger();
    transaction_trigger: s::transaction_trigger();
    cron_trigger: s::cron_trigger();
    chain_rule: s::chain_rule();
    contract_read: s::contract_read();
    transcript: s::transcript();
    request: s::request();
    batch_rule: s::batch_rule();
    record: s::record();
    window: s::window();
    entry: s::entry();
    block_header: s::block_header();
    block: s::block();
    certificate: s::certificate();
    certified_block: s::certified_block();
    statement: s::statement();
    attestation: s::attestation();
    member: s::member();
    genesis: s::genesis();
    limits: s::limits();
    route: s::route();
    applet: s::applet();
    manifest: s::manifest();
    device: s::device();
    token_registration: s::token_registration();
    control: s::control();
    control_tx: s::control_tx();
    output: s::output();
    result_record: s::result_record();
    event_record: s::event_record();
    ordering_link: s::ordering_link();
    output_link: s::output_link();
}

/// Tries all types on bytes that may be anything.
fn try_all(bytes: &[u8]) -> usize {
    macro_rules! count {
        ($($t:ty),+) => { 0 $(+ usize::from(<$t>::from_canonical(bytes).is_ok()))+ };
    }
    count!(
        MessageHeader,
        Envelope,
        Jws,
        TokenMessage,
        SessionMessage,
        TriggerMessage,
        TriggerHeader,
        LogTrigger,
        HeightTrigger,
        TransactionTrigger,
        CronTrigger,
        SentTrigger,
        ChainRule,
        ContractRead,
        Transcript,
        TransactionRequest,
        BatchRule,
        Trigger,
        Record,
        SequenceWindow,
        Entry,
        BlockHeader,
        Block,
        Certificate,
        CertifiedBlock,
        Statement,
        Attestation,
        Member,
        Genesis,
        GuestLimits,
        Route,
        Applet,
        ProofRule,
        Settlement,
        Manifest,
        DeviceRegistration,
        TokenRegistration,
        Control,
        ControlTx,
        Output,
        ResultRecord,
        EventRecord,
        OrderingLink,
        OutputLink,
        Receipt
    )
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(try_all(&bytes), 0);
    }

    #[test]
    fn damaged_receipts_never_panic(at in any::<usize>(), with in proptest::collection::vec(any::<u8>(), 0..10)) {
        static GOOD: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
            sample::Scenario::new(1, 1).receipt(sample::ENVELOPE, true).to_canonical()
        });
        let mut bytes = GOOD.clone();
        let at = at % bytes.len();
        let end = (at + with.len()).min(bytes.len());
        bytes.splice(at..end, with);
        if let Ok(receipt) = Receipt::from_canonical(&bytes) {
            let _ = receipt.verify(None);
        }
        prop_assert!(try_all(&bytes) <= 1);
    }
}

#[test]
fn hostile_lengths_and_nesting_are_refused_without_memory() {
    // The head of an array, byte string, text or map that claims 2^64 - 1 items.
    for major in [0x9b_u8, 0x5b, 0x7b, 0xbb] {
        let mut bytes = vec![major];
        bytes.extend([0xff; 8]);
        assert_eq!(try_all(&bytes), 0);
        // The same inside a list of entries.
        let mut block = vec![0x84];
        block.extend(b"\x69w3b/block\x01");
        block.extend(&bytes);
        assert_eq!(try_all(&block), 0);
    }
    // Arrays in arrays, a hundred thousand deep; and indefinite lengths.
    assert_eq!(try_all(&vec![0x81; 100_000]), 0);
    assert_eq!(try_all(&vec![0x9f; 100_000]), 0);
    assert_eq!(try_all(&vec![0; MAX_CANONICAL_BYTES + 1]), 0);
}

#[test]
fn longer_forms_of_a_number_are_refused() {
    let entry = Entry::Control(Digest::of(b"x"));
    let good = entry.to_canonical();
    // [domain, version 1, kind 1, digest]: write the version in two bytes.
    let at = 1 + 1 + "w3b/entry".len();
    assert_eq!(good[at], 1);
    let mut long = good.clone();
    long.splice(at..=at, [0x18, 1]);
    let error = Entry::from_canonical(&long).unwrap_err();
    assert!(error.to_string().contains("not in canonical form"), "{error}");
}

#[test]
fn other_versions_and_types_are_refused() {
    let header = sample::envelope(Algorithm::EdDSA, 2).0.header().unwrap().clone();
    let mut bytes = header.to_canonical();
    let at = 1 + 1 + MessageHeader::DOMAIN.len();
    bytes[at] = 2;
    assert!(MessageHeader::from_canonical(&bytes).unwrap_err().to_string().contains("version 1"));
    assert!(Statement::from_canonical(&header.to_canonical()).is_err());
}

#[test]
fn a_block_with_other_entries_than_its_header_names_is_refused() {
    let scenario = sample::Scenario::new(1, 1);
    let mut e = Encoder::new();
    let entries = &scenario.block.block.entries()[1..];
    e.array(4).text(Block::DOMAIN).u64(1).item(scenario.block.block.header()).list(entries, |e, x| {
        e.item(x);
    });
    assert!(Block::from_canonical(&e.into_bytes()).is_err());
}

#[test]
fn a_manifest_that_breaks_a_rule_is_refused() {
    let broken: [fn(&mut Manifest); 6] = [
        |m| m.env.reverse(),
        |m| m.applets.push(m.applets[0].clone()),
        |m| m.applets[0].routes.clear(),
        |m| m.blocks.max_entries = 0,
        |m| m.max_payload_bytes = MAX_PAYLOAD_BYTES as u64 + 1,
        |m| m.applets[0].routes = vec![m.applets[0].routes[0].clone(); MAX_ROUTES + 1],
    ];
    assert!(Manifest::from_canonical(&sample::manifest().to_canonical()).is_ok());
    for change in broken {
        let mut manifest = sample::manifest();
        change(&mut manifest);
        assert!(Manifest::from_canonical(&manifest.to_canonical()).is_err());
    }
}

#[test]
fn a_device_is_registered_with_the_key_that_its_did_is() {
    let device = Did::key(&sample::key(Algorithm::EdDSA, 2).public());
    let key = sample::key(Algorithm::EdDSA, 3).public();
    let registration = DeviceRegistration { device, key: key.clone(), event_types: vec![] };
    assert!(DeviceRegistration::from_canonical(&registration.to_canonical()).is_err());
    let elsewhere = DeviceRegistration { device: "did:web:example.com".parse().unwrap(), ..registration };
    assert_eq!(DeviceRegistration::from_canonical(&elsewhere.to_canonical()).unwrap().key, key);
}
