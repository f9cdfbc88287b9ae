//! The vocabulary: canonical values, receipts, identifiers.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use w3bstream_types::receipt::{ChainBlock, OrderingLink, OutputLink, Receipt, SettlementLink};
use w3bstream_types::{
    Address, Algorithm, Applet, AppletName, Attestation, BatchRule, Block, BlockHeader, Canonical,
    Certificate, CertifiedBlock, ChainRule, ContractRead, Control, ControlTx, CronTrigger,
    DeviceRegistration, Did, Digest, Entry, Envelope, EventSignature, EventType, Field, FieldKind, Genesis,
    GuestLimits, HeightTrigger, Jws, KeyId, LogTrigger, Manifest, Member, MessageHeader, MessageId,
    OperatorName, Output, ProjectId, ProjectName, ProofRule, PublicKey, PublisherName, Record, RefusalKind,
    ResultRecord, Route, SentTrigger, Sequence, SequenceWindow, SessionMessage, Settlement, SettlementName,
    SourceId, Statement, TokenMessage, TokenRegistration, Topic, TransactionRequest, TransactionTrigger,
    Transcript, Trigger, TriggerHeader, TriggerMessage, TriggerName, Word,
};

/// True if the bytes are a `T`, of which they must be the one encoding.
fn is<T: Canonical>(bytes: &[u8]) -> bool {
    let Ok(value) = T::from_canonical(bytes) else { return false };
    assert_eq!(value.to_canonical(), bytes, "{}: a second encoding was read", T::DOMAIN);
    assert_eq!(value.digest(), Digest::of(bytes), "{}: the digest is not that of the bytes", T::DOMAIN);
    let longer = [bytes, &[0]].concat();
    assert!(T::from_canonical(&longer).is_err(), "{}: a byte behind the value was taken", T::DOMAIN);
    true
}

/// How many of the types the bytes are.
macro_rules! count {
    ($bytes:expr, $($type:ty),+ $(,)?) => { [$(is::<$type>($bytes)),+].into_iter().filter(|is| *is).count() };
}

/// Every type with a canonical encoding: one type, one form, and what is asked of a value that was read never panics.
pub(crate) fn canonical(bytes: &[u8]) {
    let found = count!(
        bytes,
        MessageHeader,
        Envelope,
        TokenMessage,
        Record,
        Jws,
        SessionMessage,
        TriggerMessage,
        TriggerHeader,
        Entry,
        BlockHeader,
        Block,
        Certificate,
        CertifiedBlock,
        Statement,
        Attestation,
        Output,
        ResultRecord,
        OrderingLink,
        OutputLink,
        Receipt,
        SettlementLink,
        DeviceRegistration,
        TokenRegistration,
        Control,
        ControlTx,
        Member,
    ) + count!(
        bytes,
        Genesis,
        LogTrigger,
        HeightTrigger,
        TransactionTrigger,
        CronTrigger,
        SentTrigger,
        Trigger,
        SequenceWindow,
        BatchRule,
        ProofRule,
        Settlement,
        ChainRule,
        ContractRead,
        Transcript,
        TransactionRequest,
        GuestLimits,
        Route,
        Applet,
        Manifest,
    );
    assert!(found <= 1, "the bytes are values of {found} types");
    if found == 1 {
        ask(bytes);
    }
}

/// Asks values what those who store and show them ask.
fn ask(bytes: &[u8]) {
    let key = PublicKey::new(Algorithm::EdDSA, &[1; 32]);
    if let (Ok(record), Ok(key)) = (Record::from_canonical(bytes), &key) {
        let _ = (
            record.id(),
            record.source().to_string(),
            record.device(),
            record.sequence(),
            record.payload().len(),
        );
        let _ = record.verify(key);
    }
    if let Ok(genesis) = Genesis::from_canonical(bytes) {
        let _ = (genesis.check(), genesis.quorum());
    }
    if let Ok(manifest) = Manifest::from_canonical(bytes) {
        let _ = (manifest.check(), manifest.project(), manifest.reads());
    }
    if let Ok(trigger) = Trigger::from_canonical(bytes) {
        let _ = trigger.check();
    }
    if let Ok(settlement) = Settlement::from_canonical(bytes) {
        let _ =
            (settlement.check(), settlement.target(), settlement.words(bytes), settlement.private_key(bytes));
    }
    if let Ok(block) = Block::from_canonical(bytes) {
        let paths: Vec<_> = (0..block.entries().len()).map(|n| block.entry_path(n)).collect();
        assert!(paths.iter().all(Option::is_some) && block.entry_path(paths.len()).is_none());
    }
    if let Ok(mut window) = SequenceWindow::from_canonical(bytes) {
        for n in [0, 1, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let sequence = Sequence::from_u64(n);
            assert_eq!(
                window.check(sequence),
                window.accept(sequence),
                "the window takes something else than it says"
            );
        }
        assert!(is::<SequenceWindow>(&window.to_canonical()), "a window that was used has no encoding");
    }
    if let Ok(receipt) = Receipt::from_canonical(bytes) {
        judge(&receipt);
        if let Ok(json) = receipt.to_json() {
            assert!(Receipt::from_json(json.as_bytes()).is_ok_and(|r| r == receipt), "JSON and CBOR differ");
        }
    }
}

fn judge(receipt: &Receipt) {
    let report = receipt.verify(None);
    assert!(!report.anchored(), "nothing is anchored without anchors");
    let whole =
        pollster::block_on(w3bstream_verify::verify(receipt, None, &w3bstream_verify::Proofs::default()));
    assert!(
        !whole.is_ok() || report.first_broken().is_none(),
        "more is right than without a look at the settlements"
    );
}

/// Receipts as people have them.
pub(crate) fn receipt_json(bytes: &[u8]) {
    let Ok(receipt) = Receipt::from_json(bytes) else { return };
    judge(&receipt);
    if let Ok(text) = receipt.to_json() {
        assert_eq!(
            Receipt::from_json(text.as_bytes()).as_ref(),
            Ok(&receipt),
            "what was written is not what was read"
        );
    }
    let cbor = receipt.to_canonical();
    assert_eq!(Receipt::from_canonical(&cbor).as_ref(), Ok(&receipt), "JSON says what CBOR cannot");
}

/// A text that is a `T` is the only one for that value.
fn one_form<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string(), text, "{value:?} has two forms");
    }
}

/// A value's text is read as that value, whatever other forms there are.
fn settled<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    let Ok(value) = text.parse::<T>() else { return };
    let shown = value.to_string();
    assert!(shown.parse::<T>().is_ok_and(|again| again == value), "{shown:?} is not read as {value:?}");
}

/// Names, identifiers and the small languages of manifests.
pub(crate) fn texts(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    one_form::<ProjectName>(text);
    one_form::<AppletName>(text);
    one_form::<EventType>(text);
    one_form::<PublisherName>(text);
    one_form::<TriggerName>(text);
    one_form::<SettlementName>(text);
    one_form::<OperatorName>(text);
    one_form::<SourceId>(text);
    one_form::<Did>(text);
    one_form::<KeyId>(text);
    settled::<Digest>(text);
    settled::<ProjectId>(text);
    settled::<MessageId>(text);
    settled::<Address>(text);
    settled::<PublicKey>(text);
    settled::<Sequence>(text);
    settled::<Algorithm>(text);
    settled::<ChainBlock>(text);
    settled::<EventSignature>(text);
    settled::<Word>(text);
    settled::<Topic>(text);
    settled::<Field>(text);
    settled::<FieldKind>(text);
    if let Ok(kind) = text.parse::<RefusalKind>() {
        assert_eq!(kind.code(), text);
    }
    if let Ok(signature) = text.parse::<EventSignature>() {
        let _ = signature.topic();
    }
}

/// DIDs, the keys in them, and keys as JWK.
pub(crate) fn did(bytes: &[u8]) {
    for algorithm in [Algorithm::EdDSA, Algorithm::ES256, Algorithm::ES256K] {
        if let Ok(key) = PublicKey::new(algorithm, bytes) {
            embedded(&key);
            let signature = [7; 64];
            let _ = key.verify(bytes, &signature);
        }
    }
    if let Ok(jwk) = serde_json::from_slice(bytes)
        && let Ok(key) = PublicKey::from_jwk(&jwk)
    {
        embedded(&key);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(did) = text.parse::<Did>() else { return };
    let id = did.default_key_id();
    if id.as_str().len() <= w3bstream_types::MAX_KEY_ID_BYTES && did.method() != "key" {
        assert_eq!(id.as_str().parse::<KeyId>().as_ref(), Ok(&id), "the default key id is none");
    }
    assert_eq!(id.did(), did);
    if let Ok(key) = did.embedded_key() {
        embedded(&key);
        if did.method() == "key" {
            assert_eq!(Did::key(&key), did, "a did:key has two forms");
        }
    }
}

fn embedded(key: &PublicKey) {
    for did in [Did::key(key), Did::jwk(key)] {
        assert_eq!(did.as_str().parse::<Did>().as_ref(), Ok(&did));
        assert_eq!(did.embedded_key().as_ref(), Ok(key), "{did} is of another key");
    }
    assert_eq!(PublicKey::from_jwk(&key.to_jwk()).as_ref(), Ok(key));
    assert_eq!(PublicKey::new(key.algorithm(), key.as_bytes()).as_ref(), Ok(key));
}
