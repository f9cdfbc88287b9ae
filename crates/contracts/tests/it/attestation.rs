//! Who must have signed, what, and in which form.

use w3bstream_contracts::{ExecutionError, SUBNET_REGISTRY};
use w3bstream_types::{Address, Attestation, Digest, OutputKind, SecretKey, Statement, quorum};

use crate::world::*;

/// A world with one output that the subnet's quorum attests.
fn attested(members: usize) -> (World, Vec<w3bstream_types::Output>, Address) {
    let world = World::new(members);
    let receiver = recorder(&world);
    let outputs = vec![world.output(receiver, b"statement")];
    (world, outputs, receiver)
}

#[test]
fn the_digest_is_that_of_the_types() {
    let (world, outputs, _) = attested(1);
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../types/tests/fixtures/ethereum.json")).unwrap();
    let mut statements: Vec<Statement> = vectors["statements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|case| serde_json::from_value(case["statement"].clone()).unwrap())
        .collect();
    statements.push(world.subnet.statement(u64::MAX, &outputs));
    for s in statements {
        let words = [
            *s.subnet.0.as_bytes(),
            *s.genesis.as_bytes(),
            word(s.epoch),
            word(s.height),
            *s.block.as_bytes(),
            *s.manifest.as_bytes(),
            *s.state_root.as_bytes(),
            *s.outputs_root.as_bytes(),
        ];
        let signature = "attestationDigest((bytes32,bytes32,uint64,uint64,bytes32,bytes32,bytes32,bytes32))";
        assert_eq!(world.read(world.registry, call(signature, &words)).unwrap(), s.signing_hash());
    }
    names(SUBNET_REGISTRY, "attestationDigest");
}

#[test]
fn quorums_are_those_of_the_types() {
    let world = World::new(1);
    for n in (0..40).chain([100, 1023, 1024]) {
        let answer = number(world.read(world.registry, call("quorumOf(uint256)", &[word(n)])));
        assert_eq!(answer, quorum(n as usize) as u64, "of {n}");
    }
}

#[test]
fn a_quorum_is_enough_and_one_less_is_not() {
    for n in [1, 2, 3, 4, 5, 7, 16] {
        let (world, outputs, receiver) = attested(n);
        let need = quorum(n);
        let short = world.subnet.sign(world.subnet.statement(5, &outputs), need - 1);
        refused(world.execute(&short, &outputs, 0), "QuorumMissing(uint256,uint256)");
        assert_eq!(count(&world, receiver), 0, "{n} members");
        // All may sign as well.
        let all = world.subnet.sign(world.subnet.statement(6, &outputs), n);
        world.execute(&all, &outputs, 0).unwrap();
        world.execute(&world.subnet.attest(5, &outputs), &outputs, 0).unwrap();
        assert_eq!(count(&world, receiver), 2, "{n} members");
    }
}

/// Signatures as they stand in the call, without the order that `call_data` gives them.
fn with_signatures(
    world: &World,
    outputs: &[w3bstream_types::Output],
    change: impl Fn(&mut Vec<Vec<u8>>),
) -> Result<w3bstream_chain::Receipt, Reverted> {
    let attestation = world.subnet.attest(5, outputs);
    let hash = attestation.statement.signing_hash();
    let mut signatures: Vec<Vec<u8>> = attestation.signatures.iter().map(|s| s.1.to_vec()).collect();
    signatures.sort_by_key(|s| Address::recover(&hash, s).unwrap());
    change(&mut signatures);
    world.send(&world.owner, world.executor, splice(&call_data(&attestation, outputs, 0, &[]), &signatures))
}

/// Puts other signatures into call data of `execute`: they go to its end, and the offset leads there.
fn splice(data: &[u8], signatures: &[Vec<u8>]) -> Vec<u8> {
    let mut out = data.to_vec();
    let at = out.len() - 4;
    out[4 + 8 * 32..][..32].copy_from_slice(&word(at as u64));
    out.extend(word(signatures.len() as u64));
    let mut offset = signatures.len() * 32;
    for signature in signatures {
        out.extend(word(offset as u64));
        offset += 32 + signature.len().next_multiple_of(32);
    }
    for signature in signatures {
        out.extend(word(signature.len() as u64));
        out.extend(signature);
        out.resize(out.len() + signature.len().next_multiple_of(32) - signature.len(), 0);
    }
    out
}

/// The other signature of the same key: (r, n − s) with the other v.
fn malleated(signature: &[u8]) -> Vec<u8> {
    let s = k256::ecdsa::Signature::from_slice(&signature[..64]).unwrap();
    let high = k256::ecdsa::Signature::from_scalars(s.r().to_bytes(), (-*s.s()).to_bytes()).unwrap();
    let mut twin = high.to_bytes().to_vec();
    twin.push(55 - signature[64]);
    twin
}

#[test]
fn signatures_have_one_form() {
    let (world, outputs, receiver) = attested(4);
    // As they are they pass: so what is refused below is refused for what was changed.
    with_signatures(&world, &outputs, |_| ()).unwrap();
    let world = attested(4).0;
    let invalid = "SignatureInvalid(uint256)";
    let length = "SignatureLength(uint256,uint256)";
    let with = |change: &dyn Fn(&mut Vec<u8>)| with_signatures(&world, &outputs, |s| change(&mut s[1]));
    refused(with(&|s| *s = malleated(s)), invalid);
    refused(with(&|s| s[64] -= 27), invalid);
    refused(with(&|s| s[64] += 4), invalid);
    refused(with(&|s| s[..32].fill(0)), invalid);
    refused(with(&|s| s[32..64].fill(0)), invalid);
    refused(with(&|s| s[..32].fill(0xff)), invalid);
    refused(with(&|s| s.truncate(64)), length);
    refused(with(&|s| s.push(0)), length);
    refused(with(&|s| s.clear()), length);
    // Half the order itself is low, one more is high.
    let half = "7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0";
    let mut border = hex::decode(half).unwrap();
    let set = |border: &[u8]| {
        let border = border.to_vec();
        with_signatures(&world, &outputs, move |s| s[1][32..64].copy_from_slice(&border))
    };
    let error = set(&border).unwrap_err();
    assert_ne!(ExecutionError::decode(&error), None);
    assert_ne!(error[..4], w3bstream_contracts::function_selector(invalid));
    border[31] += 1;
    refused(set(&border), invalid);
    assert_eq!(count(&world, receiver), 0);
}

#[test]
fn each_signer_counts_once() {
    let (world, outputs, _) = attested(4);
    let ascending = "SignersNotAscending(uint256)";
    refused(with_signatures(&world, &outputs, |s| s[1] = s[0].clone()), ascending);
    refused(with_signatures(&world, &outputs, |s| s.push(s[2].clone())), ascending);
    refused(with_signatures(&world, &outputs, |s| s.swap(0, 1)), ascending);
    refused(with_signatures(&world, &outputs, |s| s.reverse()), ascending);
    // The same signer with the twin of its signature is no second one.
    refused(with_signatures(&world, &outputs, |s| s[1] = malleated(&s[0])), "SignatureInvalid(uint256)");
}

#[test]
fn strangers_do_not_count() {
    let (world, outputs, _) = attested(4);
    let stranger = SecretKey::from_bytes(w3bstream_types::Algorithm::ES256K, &[9; 32]).unwrap();
    let statement = world.subnet.statement(5, &outputs);
    let mut attestation = world.subnet.sign(statement.clone(), 2);
    attestation.signatures.push((2, statement.sign(&stranger).unwrap()));
    refused(world.execute(&attestation, &outputs, 0), "NotMember(uint256,address)");
    // Nor beside a quorum: what is not needed is not let in either.
    let mut attestation = world.subnet.attest(5, &outputs);
    attestation.signatures.push((3, statement.sign(&stranger).unwrap()));
    refused(world.execute(&attestation, &outputs, 0), "NotMember(uint256,address)");
}

#[test]
fn every_field_of_an_attestation_is_signed() {
    let (world, outputs, receiver) = attested(4);
    let good = world.subnet.attest(5, &outputs);
    let other = Digest::of(b"another");
    type Change = fn(&mut Statement, Digest);
    let changes: [(&str, Change); 8] = [
        ("subnet", |s, d| s.subnet.0 = d),
        ("genesis", |s, d| s.genesis = d),
        ("epoch", |s, _| s.epoch += 1),
        ("height", |s, _| s.height += 1),
        ("block", |s, d| s.block = d),
        ("manifest", |s, d| s.manifest = d),
        ("state root", |s, d| s.state_root = d),
        ("outputs root", |s, d| s.outputs_root = d),
    ];
    for (name, change) in changes {
        // The signatures are over the true statement, so they are put in as they are.
        let mut forged = Attestation { signatures: vec![], ..good.clone() };
        change(&mut forged.statement, other);
        let hash = good.statement.signing_hash();
        let mut signatures: Vec<Vec<u8>> = good.signatures.iter().map(|s| s.1.to_vec()).collect();
        signatures.sort_by_key(|s| Address::recover(&hash, s).unwrap());
        let data = splice(&call_data(&forged, &outputs, 0, &[]), &signatures);
        let error = world.send(&world.owner, world.executor, data).unwrap_err();
        let expected = match name {
            "subnet" | "genesis" | "epoch" => ExecutionError::NotRegistered,
            _ => ExecutionError::Signatures,
        };
        assert_eq!(ExecutionError::decode(&error), Some(expected), "{name}");
    }
    assert_eq!(count(&world, receiver), 0);
    world.execute(&good, &outputs, 0).unwrap();
}

#[test]
fn an_attestation_of_one_subnet_is_none_of_another() {
    let (world, outputs, receiver) = attested(4);
    // The same members serve another project, even under a genesis of the same digest.
    let mut twin = world.subnet.clone();
    twin.genesis.project = project("another");
    world.register(&twin).unwrap();
    let good = world.subnet.attest(5, &outputs);
    let hash = good.statement.signing_hash();
    let mut signatures: Vec<Vec<u8>> = good.signatures.iter().map(|s| s.1.to_vec()).collect();
    signatures.sort_by_key(|s| Address::recover(&hash, s).unwrap());
    let mut forged = good.clone();
    forged.signatures.clear();
    forged.statement.subnet = twin.genesis.project;
    forged.statement.genesis = w3bstream_types::Canonical::digest(&twin.genesis);
    let data = splice(&call_data(&forged, &outputs, 0, &[]), &signatures);
    let error = world.send(&world.owner, world.executor, data).unwrap_err();
    assert_eq!(ExecutionError::decode(&error), Some(ExecutionError::Signatures));
    // What the twin attests itself, its own receiver may take; this one is for the first subnet alone.
    let own = twin.attest(5, &outputs);
    refused_by_receiver(world.execute(&own, &outputs, 0), "OtherSubnet(bytes32)");
    world.execute(&good, &outputs, 0).unwrap();
    assert_eq!(count(&world, receiver), 1);
}

#[test]
fn only_settlements_are_executed() {
    let (world, mut outputs, _) = attested(1);
    outputs[0].kind = OutputKind::Mqtt;
    let attestation = world.subnet.attest(5, &outputs);
    // The encoder refuses, so the kind is put into the call by hand.
    let mut settlement = outputs.clone();
    settlement[0].kind = OutputKind::Settlement;
    let mut data = call_data(&attestation, &settlement, 0, &[]);
    refused(world.send(&world.owner, world.executor, data.clone()), "LeafNotUnderRoot(uint64,uint64)");
    let leaf =
        4 + usize::try_from(u64::from_be_bytes(data[4 + 9 * 32 + 24..][..8].try_into().unwrap())).unwrap();
    assert_eq!(data[leaf + 63], 6);
    data[leaf + 63] = OutputKind::Mqtt as u8;
    refused(world.send(&world.owner, world.executor, data), "NotASettlement(uint16)");
}
