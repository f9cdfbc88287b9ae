//! Calls, event and errors of the Executor.

use w3bstream_types::{Address, Attestation, Digest, Malformed, Output, OutputKind, Statement, keccak256};

use crate::abi::{Token, Words, address_of, bytes_at, call, encode, function_selector};

const EXECUTE: &str = "execute((bytes32,bytes32,uint64,uint64,bytes32,bytes32,bytes32,bytes32),bytes[],\
(uint64,uint16,address,bytes),uint64,bytes32[],bytes)";
const EXECUTED: &str = "executed(bytes32)";
const SETTLED: &str = "Settled(bytes32,address,bytes32,uint64,uint64,uint64,bytes32)";

/// The name of one output of one subnet: the key under which an Executor notes that it was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutputRef {
    /// The subnet, which is its project's id.
    pub subnet: Digest,
    /// The epoch.
    pub epoch: u64,
    /// The block's height.
    pub height: u64,
    /// The output's place in the block.
    pub index: u64,
}

impl OutputRef {
    /// The Executor's `outputId`: keccak256(abi.encode(subnet, epoch, height, index)).
    #[must_use]
    pub fn id(&self) -> [u8; 32] {
        let words = [Token::digest(&self.subnet), Token::uint(self.epoch), Token::uint(self.height)];
        let index = Token::uint(self.index);
        keccak256(&encode(&[&words[..], &[index]].concat()))
    }
}

/// An attested output with everything that its Executor asks for.
#[derive(Clone, Copy, Debug)]
pub struct Execution<'a> {
    /// A quorum's attestation of the output's block.
    pub attestation: &'a Attestation,
    /// The output, of the kind [`OutputKind::Settlement`].
    pub output: &'a Output,
    /// Its place in the block.
    pub index: u64,
    /// How many outputs the block has.
    pub leaf_count: u64,
    /// Its RFC 6962 audit path ([`w3bstream_types::merkle::path`]).
    pub path: &'a [Digest],
    /// For the receiver; empty if it asks for none.
    pub proof: &'a [u8],
}

impl Execution<'_> {
    /// The output's name.
    #[must_use]
    pub fn output_ref(&self) -> OutputRef {
        let Statement { subnet, epoch, height, .. } = self.attestation.statement;
        OutputRef { subnet: subnet.0, epoch, height, index: self.index }
    }

    /// The Executor that the output names: whom to send [`Self::call_data`] to.
    ///
    /// # Errors
    /// [`Malformed`] if the output is no settlement or its target not two addresses.
    pub fn executor(&self) -> Result<Address, Malformed> {
        target_of(self.output).map(|(executor, _)| executor)
    }

    /// The contract that receives the output.
    ///
    /// # Errors
    /// As [`Self::executor`].
    pub fn receiver(&self) -> Result<Address, Malformed> {
        target_of(self.output).map(|(_, receiver)| receiver)
    }

    /// Call data of `execute`. Signatures are put into the order of their signers' addresses, which the registry asks for.
    ///
    /// # Errors
    /// [`Malformed`] as [`Self::executor`], or if a signature recovers to nobody.
    pub fn call_data(&self) -> Result<Vec<u8>, Malformed> {
        let receiver = self.receiver()?;
        let kind = self.output.kind as u64;
        let leaf = [Token::uint(self.index), Token::uint(kind), Token::address(&receiver)];
        let data = Token::Bytes(self.output.data.clone());
        let arguments = [
            statement(&self.attestation.statement),
            signatures(self.attestation)?,
            Token::Tuple([&leaf[..], &[data]].concat()),
            Token::uint(self.leaf_count),
            Token::List(self.path.iter().map(Token::digest).collect()),
            Token::Bytes(self.proof.to_vec()),
        ];
        Ok(call(EXECUTE, &arguments))
    }
}

/// The Executor and the contract that a settlement names.
///
/// # Errors
/// [`Malformed`] if the output is no settlement or its target not two addresses.
pub fn target_of(output: &Output) -> Result<(Address, Address), Malformed> {
    let bad = |why: &'static str| Malformed::new("settlement", why);
    if output.kind != OutputKind::Settlement {
        return Err(bad("is an output of another kind"));
    }
    let (executor, receiver) =
        output.target.split_first_chunk::<20>().ok_or_else(|| bad("has a short target"))?;
    let receiver = receiver.try_into().map_err(|_| bad("has a target that is not two addresses"))?;
    Ok((Address::from_bytes(*executor), Address::from_bytes(receiver)))
}

fn statement(s: &Statement) -> Token {
    Token::Tuple(vec![
        Token::digest(&s.subnet.0),
        Token::digest(&s.genesis),
        Token::uint(s.epoch),
        Token::uint(s.height),
        Token::digest(&s.block),
        Token::digest(&s.manifest),
        Token::digest(&s.state_root),
        Token::digest(&s.outputs_root),
    ])
}

fn signatures(attestation: &Attestation) -> Result<Token, Malformed> {
    let hash = attestation.statement.signing_hash();
    by_signer(&hash, attestation.signatures.iter().map(|(_, signature)| *signature).collect())
}

/// `bytes[]` of these signatures over `hash`, by ascending address of the signer.
pub(crate) fn by_signer(hash: &[u8; 32], signatures: Vec<[u8; 65]>) -> Result<Token, Malformed> {
    let mut signers = Vec::with_capacity(signatures.len());
    for signature in signatures {
        let signer = Address::recover(hash, &signature).map_err(|e| Malformed::new("attestation", e.why))?;
        signers.push((signer, signature));
    }
    signers.sort_unstable();
    Ok(Token::List(signers.into_iter().map(|(_, s)| Token::Bytes(s.to_vec())).collect()))
}

/// Call data that asks an Executor whether it has executed an output. The answer is for [`decode_bool`].
#[must_use]
pub fn executed_call(output: &OutputRef) -> Vec<u8> {
    call(EXECUTED, &[Token::Word(output.id())])
}

/// The one `bool` that a call returned.
///
/// # Errors
/// [`Malformed`] for any other answer.
pub fn decode_bool(answer: &[u8]) -> Result<bool, Malformed> {
    let mut words = Words::new("answer", answer);
    let value = words.bool()?;
    words.end()?;
    Ok(value)
}

/// The event of an output that was executed. It is emitted once for each output that ever is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Which output.
    pub output: OutputRef,
    /// The contract that received it.
    pub receiver: Address,
    /// RFC 6962 hash of the output's leaf.
    pub leaf: Digest,
}

impl Settled {
    /// The event's first topic.
    #[must_use]
    pub fn topic() -> [u8; 32] {
        keccak256(SETTLED.as_bytes())
    }

    /// The topics of the event for one output, for a filter: an empty place means any.
    #[must_use]
    pub fn topics_of(output: &OutputRef) -> Vec<Vec<[u8; 32]>> {
        vec![vec![Self::topic()], vec![*output.subnet.as_bytes()], vec![], vec![output.id()]]
    }

    /// Reads a log's topics and data. `None` if it is another event.
    ///
    /// # Errors
    /// [`Malformed`] if it is this event and not as the Executor emits it. Who emitted it is for the caller to check.
    pub fn decode(topics: &[[u8; 32]], data: &[u8]) -> Result<Option<Self>, Malformed> {
        if topics.first() != Some(&Self::topic()) {
            return Ok(None);
        }
        let bad = |why: &'static str| Malformed::new("event Settled", why);
        let [_, subnet, receiver, id] = topics else { return Err(bad("has not four topics")) };
        let receiver = address_of(receiver).ok_or_else(|| bad("has a receiver that is no address"))?;
        let mut words = Words::new("event Settled", data);
        let output = OutputRef {
            subnet: Digest::from_bytes(*subnet),
            epoch: words.u64()?,
            height: words.u64()?,
            index: words.u64()?,
        };
        let leaf = Digest::from_bytes(words.word()?);
        words.end()?;
        if output.id() != *id {
            return Err(bad("names an output by an id that is not its own"));
        }
        Ok(Some(Self { output, receiver, leaf }))
    }
}

/// Why an Executor refuses, from the data of a revert.
///
/// A receiver's own errors come wrapped, so none can pretend to be the Executor's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExecutionError {
    /// The output was executed before: by somebody else, or by this very transaction's predecessor. Look for [`Settled`].
    AlreadyExecuted,
    /// The receiver reverted with this data. The output stays open.
    ReceiverReverted(Vec<u8>),
    /// The receiver is no contract, or does not answer as a receiver does. The output stays open.
    NoReceiver,
    /// The registry has no such subnet or epoch, or another genesis for it.
    NotRegistered,
    /// The epoch had ended before this height.
    EpochClosed,
    /// The registry does not take the signatures: too few, of others than the epoch's members, or in a wrong form or order.
    Signatures,
    /// The output is not under the attested root: also if it is meant for another chain or another Executor.
    NotIncluded,
}

const ERRORS: [(&str, ExecutionError); 11] = [
    ("AlreadyExecuted(bytes32)", ExecutionError::AlreadyExecuted),
    ("NoReceiver(address)", ExecutionError::NoReceiver),
    ("ReceiverRefused(address)", ExecutionError::NoReceiver),
    ("EpochUnknown(bytes32,uint64)", ExecutionError::NotRegistered),
    ("GenesisMismatch(bytes32,bytes32)", ExecutionError::NotRegistered),
    ("EpochClosed(uint64,uint64)", ExecutionError::EpochClosed),
    ("QuorumMissing(uint256,uint256)", ExecutionError::Signatures),
    ("SignersNotAscending(uint256)", ExecutionError::Signatures),
    ("NotMember(uint256,address)", ExecutionError::Signatures),
    ("SignatureInvalid(uint256)", ExecutionError::Signatures),
    ("LeafNotUnderRoot(uint64,uint64)", ExecutionError::NotIncluded),
];
const RECEIVER_REVERTED: &str = "ReceiverReverted(address,bytes)";

impl ExecutionError {
    /// Reads the data of a revert of `execute`. `None` if it is no error that a caller branches on: a call that was encoded
    /// wrongly, or one that ran out of gas.
    #[must_use]
    pub fn decode(data: &[u8]) -> Option<Self> {
        let (selector, arguments) = data.split_first_chunk::<4>()?;
        if *selector == function_selector(RECEIVER_REVERTED) {
            return Some(Self::ReceiverReverted(bytes_at(arguments, 1)?.to_vec()));
        }
        ERRORS.into_iter().find(|(name, _)| function_selector(name) == *selector).map(|(_, error)| error)
    }
}

impl std::fmt::Display for ExecutionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::AlreadyExecuted => "the output was executed before",
            Self::ReceiverReverted(_) => "the receiver reverted",
            Self::NoReceiver => "there is no receiver at the target's address",
            Self::NotRegistered => "the registry does not know the subnet's epoch and genesis",
            Self::EpochClosed => "the epoch had ended before this height",
            Self::Signatures => "the signatures are no quorum of the registered members",
            Self::NotIncluded => "the output is not under the attested root for this chain and executor",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EXECUTOR, SUBNET_REGISTRY};

    /// The signatures that an artefact's ABI names.
    pub(crate) fn signatures_of(json: &str) -> Vec<String> {
        fn of(input: &serde_json::Value) -> String {
            let kind = input["type"].as_str().unwrap();
            match kind.strip_prefix("tuple") {
                None => kind.to_owned(),
                Some(rest) => {
                    let parts: Vec<_> = input["components"].as_array().unwrap().iter().map(of).collect();
                    format!("({}){rest}", parts.join(","))
                }
            }
        }
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        let entries = json["abi"].as_array().unwrap().iter();
        entries
            .filter(|e| e["name"].is_string())
            .map(|e| {
                let inputs: Vec<_> = e["inputs"].as_array().unwrap().iter().map(of).collect();
                format!("{}({})", e["name"].as_str().unwrap(), inputs.join(","))
            })
            .collect()
    }

    #[test]
    fn the_abi_names_every_signature_used_here() {
        let mut known = signatures_of(EXECUTOR.json);
        known.extend(signatures_of(SUBNET_REGISTRY.json));
        let used = [EXECUTE, EXECUTED, SETTLED, RECEIVER_REVERTED].into_iter().chain(ERRORS.map(|(s, _)| s));
        for signature in used {
            assert!(known.iter().any(|k| k == signature), "{signature} is not in {known:?}");
        }
    }

    #[test]
    fn errors_are_read_from_revert_data() {
        let mut data = function_selector(RECEIVER_REVERTED).to_vec();
        let address = Token::address(&Address::from_bytes([1; 20]));
        data.extend(encode(&[address, Token::Bytes(function_selector("AlreadyExecuted(bytes32)").to_vec())]));
        let Some(ExecutionError::ReceiverReverted(inner)) = ExecutionError::decode(&data) else {
            panic!("not what the receiver said");
        };
        assert_eq!(inner, function_selector("AlreadyExecuted(bytes32)"));
        assert_eq!(ExecutionError::decode(&data[..40]), None);
        assert_eq!(ExecutionError::decode(&[]), None);
        assert_eq!(ExecutionError::decode(&[1, 2, 3, 4]), None);
        let direct = call("AlreadyExecuted(bytes32)", &[Token::uint(0)]);
        assert_eq!(ExecutionError::decode(&direct), Some(ExecutionError::AlreadyExecuted));
    }

    #[test]
    fn a_log_is_read_only_as_the_executor_emits_it() {
        let output = OutputRef { subnet: Digest::of(b"subnet"), epoch: 1, height: 2, index: 3 };
        let topics = [
            Settled::topic(),
            *output.subnet.as_bytes(),
            crate::abi::address_word(&Address::from_bytes([7; 20])),
            output.id(),
        ];
        let data = encode(&[Token::uint(1), Token::uint(2), Token::uint(3), Token::Word([9; 32])]);
        let settled = Settled::decode(&topics, &data).unwrap().unwrap();
        assert_eq!((settled.output, settled.receiver), (output, Address::from_bytes([7; 20])));
        assert_eq!(settled.leaf, Digest::from_bytes([9; 32]));
        assert_eq!(Settled::decode(&[[0; 32]], &data).unwrap(), None);
        assert_eq!(Settled::decode(&[], &data).unwrap(), None);
        assert!(Settled::decode(&topics[..3], &data).is_err());
        assert!(Settled::decode(&topics, &data[..96]).is_err());
        let other = encode(&[Token::uint(1), Token::uint(2), Token::uint(4), Token::Word([9; 32])]);
        assert!(Settled::decode(&topics, &other).is_err(), "the id is of another index");
        let wanted = Settled::topics_of(&output);
        assert!(topics.iter().zip(&wanted).all(|(t, w)| w.is_empty() || w.contains(t)));
    }

    #[test]
    fn other_outputs_are_no_settlements() {
        let statement = Statement {
            subnet: w3bstream_types::ProjectId(Digest::ZERO),
            genesis: Digest::ZERO,
            epoch: 0,
            height: 0,
            block: Digest::ZERO,
            manifest: Digest::ZERO,
            state_root: Digest::ZERO,
            outputs_root: Digest::ZERO,
        };
        let attestation = Attestation { statement, signatures: vec![] };
        for (kind, length, ok) in [
            (OutputKind::Settlement, 40, true),
            (OutputKind::Settlement, 39, false),
            (OutputKind::Settlement, 41, false),
            (OutputKind::Settlement, 3, false),
            (OutputKind::Metric, 40, false),
        ] {
            let output = Output { kind, chain_id: 1, target: vec![1; length], data: vec![] };
            let execution = Execution {
                attestation: &attestation,
                output: &output,
                index: 0,
                leaf_count: 1,
                path: &[],
                proof: &[],
            };
            assert_eq!(execution.call_data().is_ok(), ok, "{kind:?} {length}");
        }
    }
}
