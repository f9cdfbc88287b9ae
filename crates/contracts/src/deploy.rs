//! Init code of each contract, and where it ends up. Order: [`registry`], [`executor`], [`groth16_verifier`], then the
//! receiver ([`cold_chain`] or [`recorder`]).

use w3bstream_types::{Address, ProjectId, keccak256};

use crate::abi::{Token, encode};
use crate::{COLD_CHAIN, Contract, EXECUTOR, GROTH16_VERIFIER, RECORDER, SUBNET_REGISTRY, VerifyingKey};

fn init(contract: Contract, arguments: &[Token]) -> Vec<u8> {
    [contract.bytecode, &encode(arguments)].concat()
}

/// A registry whose owner registers subnets. `recovery_delay` in seconds; 0 means that a lost quorum is never replaced.
#[must_use]
pub fn registry(owner: &Address, recovery_delay: u64) -> Vec<u8> {
    init(SUBNET_REGISTRY, &[Token::address(owner), Token::uint(recovery_delay)])
}

/// An Executor that believes a registry.
#[must_use]
pub fn executor(registry: &Address) -> Vec<u8> {
    init(EXECUTOR, &[Token::address(registry)])
}

/// A verifier of one circuit's proofs.
#[must_use]
pub fn groth16_verifier(key: &VerifyingKey) -> Vec<u8> {
    init(GROTH16_VERIFIER, &[Token::Bytes(key.as_bytes().to_vec())])
}

/// The cold chain's receiver.
#[must_use]
pub fn cold_chain(executor: &Address, verifier: &Address, project: &ProjectId) -> Vec<u8> {
    init(COLD_CHAIN, &[Token::address(executor), Token::address(verifier), Token::digest(&project.0)])
}

/// A receiver that records what a subnet attests.
#[must_use]
pub fn recorder(executor: &Address, subnet: &ProjectId) -> Vec<u8> {
    init(RECORDER, &[Token::address(executor), Token::digest(&subnet.0)])
}

/// The address of the contract that `sender` creates with its transaction number `nonce`: the last 20 bytes of
/// keccak256(rlp([sender, nonce])) (Yellow Paper §7).
#[must_use]
pub fn address(sender: &Address, nonce: u64) -> Address {
    let be = nonce.to_be_bytes();
    let digits = be.get(nonce.leading_zeros() as usize / 8..).unwrap_or_default();
    // A number below 128 stands for itself; zero is the empty string.
    let number = match digits {
        [one] if *one < 0x80 => vec![*one],
        _ => [&[0x80 + digits.len() as u8][..], digits].concat(),
    };
    let body = [&[0x94][..], sender.as_bytes(), &number].concat();
    let hash = keccak256(&[&[0xc0 + body.len() as u8][..], &body].concat());
    let [.., a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = hash;
    Address::from_bytes([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_created_contracts() {
        // The example that is in circulation since 2016, and the first contract of a well-known test key.
        let sender: Address = "0x6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0".parse().unwrap();
        for (nonce, contract) in [
            (0, "0xcd234a471b72ba2f1ccf0a70fcaba648a5eecd8d"),
            (1, "0x343c43a37d37dff08ae8c4a11544c718abb4fcf8"),
            (2, "0xf778b86fa74e846c4f0a1fbd1335fe81c00a0c91"),
        ] {
            assert_eq!(address(&sender, nonce).to_string(), contract);
        }
        let sender: Address = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266".parse().unwrap();
        assert_eq!(address(&sender, 0).to_string(), "0x5fbdb2315678afecb367f032d93f642f64180aa3");
    }
}
