//! Vocabulary of a W3bstream node: batons, ids, digests, canonical encoding, receipt.
//!
//! **Takes** bytes and values; **gives** values that are checked as far as that is pure. Every room
//! speaks in these types and in nothing else.
//!
//! # Invariants
//! - No I/O, no async, no clock but a trait, no random numbers, no third-party types in the interface.
//! - One value has one encoding ([`Canonical`]), and what is not in that form is refused.
//! - A baton ([`Verified`], [`Stored`], [`Ordered`], [`Executed`], [`Attested`]) contains its evidence.
//!
//! # Where to start
//! [`MessageHeader`] is what a device signs; [`Statement`] is what a node signs; the module [`baton`] tells
//! the way between them, and the module [`receipt`] lets anybody check it afterwards.

pub mod baton;

mod attestation;
mod block;
mod canonical;
mod compact;
mod contract;
mod control;
mod database;
mod did;
mod digest;
mod error;
mod genesis;
mod ids;
mod jws;
mod key;
mod manifest;
pub mod merkle;
mod message;
mod output;
pub mod receipt;
mod refusal;
mod sequence;
mod session;
mod settlement;
mod text;
pub mod time;
mod trigger;

pub use attestation::{Attestation, DOMAIN_TYPE, STATEMENT_TYPE, Statement};
pub use baton::{Attested, Executed, Ordered, Position, Received, Stored, Submission, Trust, Verified};
pub use block::{Block, BlockHeader, Certificate, CertifiedBlock, Entry, Place};
pub use canonical::{Canonical, Decoder, Encoder, MAX_CANONICAL_BYTES};
pub use contract::{
    ChainRule, ContractAnswer, ContractCall, ContractRead, MAX_ANSWER_BYTES, MAX_CALL_DATA_BYTES, MAX_CHAINS,
    MAX_OPERATORS, MAX_READS, TransactionRequest, Transcript,
};
pub use control::{Control, ControlTx, DeviceRegistration, TokenRegistration};
pub use database::{
    Database, MAX_COLUMNS, MAX_STATEMENT_BYTES, MAX_STATEMENT_PARAMS, MAX_TABLES, SQLITE_VERSION, SqlBlock,
    SqlBudget, SqlChange, SqlColumn, SqlEntry, SqlKey, SqlName, SqlOutcome, SqlRefusal, SqlRows,
    SqlStatement, SqlTable, SqlType, SqlValue,
};
pub use did::{Did, KeyId, MAX_DID_BYTES, MAX_KEY_ID_BYTES};
pub use digest::Digest;
pub use error::{Disposition, Invalid, Malformed};
pub use genesis::{Genesis, MAX_MEMBERS, Member, quorum};
pub use ids::{
    AppletName, EventType, MessageId, OperatorName, ProjectId, ProjectName, PublisherName, SettlementName,
    SourceId, TriggerName,
};
pub use jws::{JWS_TYPE, Jws, MAX_JWS_BYTES};
pub use key::{Address, Algorithm, PublicKey, SecretKey, keccak256};
pub use manifest::{Applet, BlockRules, GuestLimits, MAX_APPLETS, MAX_ROUTES, Manifest, Partition, Route};
pub use message::{
    Draft, Envelope, Form, MAX_EVENT_ID_BYTES, MAX_PAYLOAD_BYTES, MessageHeader, Record, TokenMessage,
    check_event_id, payload_digest, token_hash,
};
pub use output::{EventRecord, Output, OutputKind, ResultRecord, output_leaves, outputs_root};
pub use refusal::{
    Accepted, AckMode, HandlerAnswer, HandlerResult, MessageSettlement, MessageState, ProofStep, Refusal,
    RefusalKind, SettlementStep, SettlingTransaction, StateChange,
};
pub use sequence::{Sequence, SequenceWindow, WINDOW_BITS, WindowVerdict};
pub use session::{
    CONNECT_TYPE, Introduction, IntroductionClaims, MAX_NONCE_BYTES, MAX_SESSION_LAG_MS, MAX_SESSION_SECONDS,
    MAX_SESSION_TEXT_BYTES, SESSION_TYPE, SessionClaims, SessionMessage, SessionToken,
};
pub use settlement::{
    BatchRule, Field, FieldKind, MAX_SETTLEMENTS, MAX_STATEMENT_FIELDS, ProofRule, Settlement,
};
pub use time::{Clock, ManualClock, SystemClock, Timestamp};
pub use trigger::{
    CronTrigger, EventSignature, HeightTrigger, LogTrigger, MAX_CONFIRMATIONS, MAX_TRIGGERS, Missed,
    SentTrigger, Topic, TransactionTrigger, Trigger, TriggerHeader, TriggerMessage, TriggerOn, Word,
};
