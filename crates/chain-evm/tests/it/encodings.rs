//! The room's own encodings against those of alloy.

use alloy_consensus::{SignableTransaction as _, Signed, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::{Decodable2718 as _, Encodable2718 as _};
use alloy_primitives::{Address as AlloyAddress, Signature, TxKind, U256};
use proptest::prelude::*;
use w3bstream_chain::{Hash, SignedTransaction, Transaction, trie};
use w3bstream_types::{Address, Algorithm, SecretKey};

fn same(t: &Transaction) -> TxEip1559 {
    TxEip1559 {
        chain_id: t.chain_id,
        nonce: t.nonce,
        gas_limit: t.gas_limit,
        max_fee_per_gas: t.max_fee,
        max_priority_fee_per_gas: t.priority_fee,
        to: t.to.map_or(TxKind::Create, |a| TxKind::Call(AlloyAddress::from(*a.as_bytes()))),
        value: U256::from(t.value),
        access_list: vec![].into(),
        input: t.data.clone().into(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn transactions_are_signed_and_encoded_as_alloy_does(
        numbers in any::<(u64, u64, u128, u128, u64, u128)>(),
        to in proptest::option::of(any::<[u8; 20]>()),
        data in proptest::collection::vec(any::<u8>(), 0..400),
        // Thirty-two times 255 is above the order of the curve, so it is no key.
        secret in 1u8..255,
    ) {
        let t = Transaction {
            chain_id: numbers.0,
            nonce: numbers.1,
            priority_fee: numbers.2,
            max_fee: numbers.3,
            gas_limit: numbers.4,
            to: to.map(Address::from_bytes),
            value: numbers.5,
            data,
        };
        let theirs = same(&t);
        prop_assert_eq!(theirs.signature_hash().0, *t.signing_hash().as_bytes());
        let key = SecretKey::from_bytes(Algorithm::ES256K, &[secret; 32]).unwrap();
        let signature = key.sign_recoverable(t.signing_hash().as_bytes()).unwrap();
        let ours = SignedTransaction::new(t, &signature).unwrap();
        let signature = Signature::from_raw(&signature).unwrap();
        let theirs = TxEnvelope::from(Signed::new_unhashed(theirs, signature));
        prop_assert_eq!(theirs.encoded_2718(), ours.raw());
        prop_assert_eq!(theirs.tx_hash().0, *ours.hash().as_bytes());
        let read = TxEnvelope::decode_2718(&mut ours.raw()).unwrap();
        prop_assert_eq!(read, theirs);
    }

    #[test]
    fn lists_have_the_root_that_alloy_finds(
        sizes in proptest::collection::vec(1usize..120, 0..400), salt in any::<u8>(),
    ) {
        let values: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(i, n)| vec![i as u8 ^ salt; *n]).collect();
        let theirs = alloy_consensus::proofs::ordered_trie_root_with_encoder(&values, |v, out| out.extend_from_slice(v));
        prop_assert_eq!(Hash::from_bytes(theirs.0), trie::root(&values));
    }
}
