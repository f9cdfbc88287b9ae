//! Calls of the SubnetRegistry, and the statement with which a quorum ends its epoch.

use w3bstream_types::{Address, DOMAIN_TYPE, Digest, Genesis, Malformed, ProjectId, SecretKey, keccak256};

use crate::abi::{Token, address_word, call, encode};
use crate::executor::by_signer;

const REGISTER: &str = "register(bytes32,address,bytes32,uint64,address[])";
const ADVANCE: &str = "advance((bytes32,bytes32,uint64,uint64,bytes32,address[]),bytes[])";

/// EIP-712 struct type of a [`Handover`].
const HANDOVER_TYPE: &str = "Handover(bytes32 subnet,bytes32 genesis,uint64 epoch,uint64 lastHeight,bytes32 nextGenesis,\
address[] nextMembers)";

/// The members' attestation addresses in the order that the registry asks for.
fn members(genesis: &Genesis) -> Result<Vec<Address>, Malformed> {
    let mut members = genesis.members.iter().map(|m| m.address()).collect::<Result<Vec<_>, _>>()?;
    members.sort_unstable();
    Ok(members)
}

fn list(members: &[Address]) -> Token {
    Token::List(members.iter().map(Token::address).collect())
}

/// Call data of `register`: the subnet's first epoch on this chain. For the registry's owner to send.
///
/// # Errors
/// [`Malformed`] if a member's attestation key is not secp256k1.
pub fn register_call(subnet_owner: &Address, genesis: &Genesis) -> Result<Vec<u8>, Malformed> {
    use w3bstream_types::Canonical as _;
    let arguments = [
        Token::digest(&genesis.project.0),
        Token::address(subnet_owner),
        Token::digest(&genesis.digest()),
        Token::uint(genesis.epoch),
        list(&members(genesis)?),
    ];
    Ok(call(REGISTER, &arguments))
}

/// The end of an epoch and the start of the next, for a quorum of the ending one to sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// The subnet.
    pub subnet: ProjectId,
    /// Digest of the genesis of the epoch that ends.
    pub genesis: Digest,
    /// The epoch that ends.
    pub epoch: u64,
    /// The last height that its members attest.
    pub last_height: u64,
    /// Digest of the genesis of the epoch that follows.
    pub next_genesis: Digest,
    /// Attestation addresses of its members, ascending.
    pub next_members: Vec<Address>,
}

impl Handover {
    /// From one genesis to the next.
    ///
    /// # Errors
    /// [`Malformed`] if `to` is not the next epoch of the same subnet, or a key of it not secp256k1.
    pub fn new(from: &Genesis, last_height: u64, to: &Genesis) -> Result<Self, Malformed> {
        use w3bstream_types::Canonical as _;
        if to.project != from.project || Some(to.epoch) != from.epoch.checked_add(1) {
            return Err(Malformed::new("handover", "does not lead to the next epoch of the same subnet"));
        }
        Ok(Self {
            subnet: from.project,
            genesis: from.digest(),
            epoch: from.epoch,
            last_height,
            next_genesis: to.digest(),
            next_members: members(to)?,
        })
    }

    /// The 32 bytes that are signed: EIP-712 in the domain of the ending epoch's genesis, which is that of its
    /// attestations. The struct types differ, so neither signature can be taken for the other.
    #[must_use]
    pub fn signing_hash(&self) -> [u8; 32] {
        let domain = [
            Token::Word(keccak256(DOMAIN_TYPE.as_bytes())),
            Token::Word(keccak256(b"W3bstream")),
            Token::Word(keccak256(b"1")),
            Token::digest(&self.genesis),
        ];
        let members: Vec<u8> = self.next_members.iter().flat_map(address_word).collect();
        let body = [
            Token::Word(keccak256(HANDOVER_TYPE.as_bytes())),
            Token::digest(&self.subnet.0),
            Token::digest(&self.genesis),
            Token::uint(self.epoch),
            Token::uint(self.last_height),
            Token::digest(&self.next_genesis),
            Token::Word(keccak256(&members)),
        ];
        let (domain, body) = (keccak256(&encode(&domain)), keccak256(&encode(&body)));
        keccak256(&[&[0x19, 0x01][..], &domain, &body].concat())
    }

    /// Signs as `r ‖ s ‖ v`. `None` if the key is not secp256k1.
    #[must_use]
    pub fn sign(&self, key: &SecretKey) -> Option<[u8; 65]> {
        key.sign_recoverable(&self.signing_hash())
    }
}

/// Call data of `advance`. Anybody may send it.
///
/// # Errors
/// [`Malformed`] if a signature recovers to nobody.
pub fn advance_call(handover: &Handover, signatures: Vec<[u8; 65]>) -> Result<Vec<u8>, Malformed> {
    let body = Token::Tuple(vec![
        Token::digest(&handover.subnet.0),
        Token::digest(&handover.genesis),
        Token::uint(handover.epoch),
        Token::uint(handover.last_height),
        Token::digest(&handover.next_genesis),
        list(&handover.next_members),
    ]);
    Ok(call(ADVANCE, &[body, by_signer(&handover.signing_hash(), signatures)?]))
}
