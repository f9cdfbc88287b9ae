//! Subnets, epochs, handovers, recovery.

use w3bstream_chain_dev::dev_key;
use w3bstream_contracts::{ExecutionError, Handover, advance_call, function_selector, register_call};
use w3bstream_types::{Address, Canonical as _, Digest, Genesis};

use crate::world::*;

fn next(world: &World, members: usize) -> Subnet {
    Subnet::new(world.subnet.genesis.project, world.subnet.genesis.epoch + 1, members)
}

/// Signed by the first `signers` members of the ending epoch.
fn signed(subnet: &Subnet, handover: &Handover, signers: usize) -> Vec<u8> {
    let signatures = subnet.keys[..signers].iter().map(|k| handover.sign(k).unwrap()).collect();
    advance_call(handover, signatures).unwrap()
}

#[test]
fn a_quorum_hands_over_and_both_epochs_settle_what_is_theirs() {
    let world = World::new(4);
    let receiver = recorder(&world);
    let outputs = [world.output(receiver, b"x")];
    let new = next(&world, 7);
    let handover = Handover::new(&world.subnet.genesis, 10, &new.genesis).unwrap();
    // Before: the new members speak for nobody.
    let early = world.execute(&new.attest(11, &outputs), &outputs, 0).unwrap_err();
    assert_eq!(ExecutionError::decode(&early), Some(ExecutionError::NotRegistered));
    let short = signed(&world.subnet, &handover, 2);
    refused(world.send(&world.owner, world.registry, short), "QuorumMissing(uint256,uint256)");
    let usurped = signed(&new, &handover, 7);
    refused(world.send(&world.owner, world.registry, usurped), "NotMember(uint256,address)");
    // Anybody may bring it.
    let call = signed(&world.subnet, &handover, 3);
    world.send(&dev_key(3), world.registry, call.clone()).unwrap();
    refused(world.send(&world.owner, world.registry, call), "EpochNotCurrent(uint64,uint64)");
    world.execute(&new.attest(11, &outputs), &outputs, 0).unwrap();
    // What the old epoch had attested before can still be settled, and nothing beyond.
    world.execute(&world.subnet.attest(10, &outputs), &outputs, 0).unwrap();
    refused(world.execute(&world.subnet.attest(11, &outputs), &outputs, 0), "EpochClosed(uint64,uint64)");
    // Nobody speaks for the other's epoch.
    let mut mixed = new.clone();
    mixed.keys = [&world.subnet.keys[..], &new.keys[..3]].concat();
    let statement = new.statement(12, &outputs);
    refused(world.execute(&mixed.sign(statement, 5), &outputs, 0), "NotMember(uint256,address)");
    assert_eq!(count(&world, receiver), 2);
}

#[test]
fn every_field_of_a_handover_is_signed() {
    let world = World::new(4);
    let good = Handover::new(&world.subnet.genesis, 10, &next(&world, 4).genesis).unwrap();
    let signatures: Vec<[u8; 65]> = world.subnet.keys[..3].iter().map(|k| good.sign(k).unwrap()).collect();
    type Change = fn(&mut Handover);
    let changes: [(Change, &[&str]); 6] = [
        (|h| h.subnet.0 = Digest::of(b"x"), &["SubnetUnknown(bytes32)"]),
        (|h| h.genesis = Digest::of(b"x"), &["GenesisMismatch(bytes32,bytes32)"]),
        (|h| h.epoch += 1, &["EpochNotCurrent(uint64,uint64)"]),
        (|h| h.last_height += 1, &["NotMember(uint256,address)", "SignersNotAscending(uint256)"]),
        (
            |h| h.next_genesis = Digest::of(b"x"),
            &["NotMember(uint256,address)", "SignersNotAscending(uint256)"],
        ),
        (|h| h.next_members.truncate(3), &["NotMember(uint256,address)", "SignersNotAscending(uint256)"]),
    ];
    let original = advance_call(&good, signatures).unwrap();
    // The signatures of the true handover, behind a changed one.
    let signatures_at =
        4 + usize::try_from(u64::from_be_bytes(original[4 + 32 + 24..][..8].try_into().unwrap())).unwrap();
    for (number, (change, errors)) in changes.into_iter().enumerate() {
        let mut forged = good.clone();
        change(&mut forged);
        let empty = advance_call(&forged, vec![]).unwrap();
        let data = [&empty[..empty.len() - 32], &original[signatures_at..]].concat();
        let error = world.send(&world.owner, world.registry, data).unwrap_err();
        assert!(
            errors.iter().any(|e| error[..4] == function_selector(e)),
            "{number}: {}",
            hex::encode(error)
        );
    }
    world.send(&world.owner, world.registry, original).unwrap();
}

#[test]
fn an_attestation_is_no_handover_nor_the_reverse() {
    let world = World::new(1);
    let new = next(&world, 1);
    let handover = Handover::new(&world.subnet.genesis, 10, &new.genesis).unwrap();
    let statement = world.subnet.statement(10, &[]);
    assert_ne!(handover.signing_hash(), statement.signing_hash());
    let forged = vec![statement.sign(&world.subnet.keys[0]).unwrap()];
    let call = advance_call(&handover, forged).unwrap();
    refused(world.send(&world.owner, world.registry, call), "NotMember(uint256,address)");
    assert!(Handover::new(&world.subnet.genesis, 1, &world.subnet.genesis).is_err());
    let other = Subnet::new(project("other"), 1, 1);
    assert!(Handover::new(&world.subnet.genesis, 1, &other.genesis).is_err());
}

#[test]
fn only_the_owner_registers_each_subnet_once() {
    let world = World::new(1);
    let other = Subnet::new(project("other"), 3, 2);
    let call = register_call(&world.account(), &other.genesis).unwrap();
    refused(world.send(&dev_key(1), world.registry, call.clone()), "NotOwner(address)");
    world.send(&world.owner, world.registry, call.clone()).unwrap();
    refused(world.send(&world.owner, world.registry, call), "SubnetKnown(bytes32)");
    // Under other members neither.
    let usurper = Subnet::new(other.genesis.project, 4, 1);
    refused(world.register(&usurper), "SubnetKnown(bytes32)");
}

#[test]
fn members_are_distinct_and_some() {
    let world = World::new(1);
    let genesis = Subnet::new(project("other"), 0, 3).genesis;
    let good = register_call(&world.account(), &genesis).unwrap();
    let list = 4 + 5 * 32;
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut data = good.clone();
        change(&mut data);
        world.send(&world.owner, world.registry, data)
    };
    let ascending = "MembersNotAscending(uint256)";
    refused(with(&|d| d.copy_within(list + 32..list + 64, list + 64)), ascending);
    refused(with(&|d| d[list + 32..list + 64].fill(0)), ascending);
    refused(with(&|d| d[list + 64..list + 96].fill(0)), ascending);
    refused(
        with(&|d| {
            d[list..list + 32].fill(0);
            d.truncate(list + 32);
        }),
        "NoMembers()",
    );
    refused(with(&|d| d[4 + 64..4 + 96].fill(0)), "GenesisIsZero()");
    refused(with(&|d| d[4 + 32..4 + 64].fill(0)), "ZeroAddress()");
    with(&|_| ()).unwrap();
}

fn recovery(signature: &str, genesis: &Genesis, last_height: u64) -> Vec<u8> {
    let mut members: Vec<Address> = genesis.members.iter().map(|m| m.address().unwrap()).collect();
    members.sort_unstable();
    let mut words = vec![
        *genesis.project.0.as_bytes(),
        *genesis.digest().as_bytes(),
        word(128),
        word(last_height),
        word(members.len() as u64),
    ];
    words.extend(members.into_iter().map(address_word));
    call(signature, &words)
}

const ANNOUNCE: &str = "announceRecovery(bytes32,bytes32,address[],uint64)";
const RECOVER: &str = "recover(bytes32,bytes32,address[],uint64)";

#[test]
fn a_lost_quorum_is_replaced_in_public_and_late() {
    let world = World::new(4);
    let receiver = recorder(&world);
    let outputs = [world.output(receiver, b"x")];
    let new = next(&world, 1);
    let send = |data: Vec<u8>| world.send(&world.owner, world.registry, data);
    let finish = || recovery(RECOVER, &new.genesis, 10);
    refused(send(finish()), "RecoveryNotAnnounced()");
    let announcement = recovery(ANNOUNCE, &new.genesis, 10);
    refused(world.send(&dev_key(1), world.registry, announcement.clone()), "NotOwner(address)");
    send(announcement).unwrap();
    refused(send(finish()), "RecoveryTooEarly(uint64)");
    world.wait(RECOVERY_DELAY);
    // What is done must be what was announced, by whom it was announced.
    refused(send(recovery(RECOVER, &new.genesis, 11)), "RecoveryNotAnnounced()");
    let other = Subnet::new(world.subnet.genesis.project, 1, 2);
    refused(send(recovery(RECOVER, &other.genesis, 10)), "RecoveryNotAnnounced()");
    refused(world.send(&dev_key(1), world.registry, finish()), "NotOwner(address)");
    send(finish()).unwrap();
    refused(send(finish()), "RecoveryNotAnnounced()");
    world.execute(&new.attest(11, &outputs), &outputs, 0).unwrap();
    refused(world.execute(&world.subnet.attest(11, &outputs), &outputs, 0), "EpochClosed(uint64,uint64)");
}

#[test]
fn a_quorum_that_is_not_lost_stops_a_recovery() {
    let world = World::new(4);
    let usurper = next(&world, 1);
    let send = |data: Vec<u8>| world.send(&world.owner, world.registry, data);
    send(recovery(ANNOUNCE, &usurper.genesis, 0)).unwrap();
    let new = next(&world, 4);
    let handover = Handover::new(&world.subnet.genesis, 10, &new.genesis).unwrap();
    send(signed(&world.subnet, &handover, 3)).unwrap();
    world.wait(RECOVERY_DELAY);
    refused(send(recovery(RECOVER, &usurper.genesis, 0)), "RecoveryNotAnnounced()");
    // The owner can withdraw as well.
    let third = Subnet::new(world.subnet.genesis.project, 2, 1);
    send(recovery(ANNOUNCE, &third.genesis, 0)).unwrap();
    send(call("withdrawRecovery(bytes32)", &[*world.subnet.genesis.project.0.as_bytes()])).unwrap();
    world.wait(RECOVERY_DELAY);
    refused(send(recovery(RECOVER, &third.genesis, 0)), "RecoveryNotAnnounced()");
}

#[test]
fn without_a_delay_there_is_no_recovery() {
    let world = World::new(1);
    let account = world.account();
    let registry = world.deploy(w3bstream_contracts::deploy::registry(&account, 0)).unwrap();
    world.send(&world.owner, registry, register_call(&account, &world.subnet.genesis).unwrap()).unwrap();
    let announcement = recovery(ANNOUNCE, &next(&world, 1).genesis, 10);
    refused(world.send(&world.owner, registry, announcement), "RecoveryDisabled()");
}

#[test]
fn ownership_passes_in_two_steps() {
    let world = World::new(1);
    let heir = dev_key(1);
    let heir_address = Address::of_key(&heir.public()).unwrap();
    let offer = call("offerOwnership(address)", &[address_word(heir_address)]);
    let take = call("takeOwnership()", &[]);
    refused(world.send(&heir, world.registry, offer.clone()), "NotOwner(address)");
    refused(world.send(&heir, world.registry, take.clone()), "NotOwner(address)");
    world.send(&world.owner, world.registry, offer).unwrap();
    refused(world.send(&dev_key(2), world.registry, take.clone()), "NotOwner(address)");
    world.send(&heir, world.registry, take.clone()).unwrap();
    refused(world.send(&heir, world.registry, take), "NotOwner(address)");
    let other = Subnet::new(project("other"), 0, 1);
    refused(world.register(&other), "NotOwner(address)");
    world.send(&heir, world.registry, register_call(&heir_address, &other.genesis).unwrap()).unwrap();
    // A subnet's owner is another office, which the registry's heir has not got.
    let subnet = *world.subnet.genesis.project.0.as_bytes();
    let change = call("changeSubnetOwner(bytes32,address)", &[subnet, address_word(heir_address)]);
    refused(world.send(&heir, world.registry, change.clone()), "NotOwner(address)");
    world.send(&world.owner, world.registry, change).unwrap();
    let announcement = recovery(ANNOUNCE, &next(&world, 1).genesis, 10);
    refused(world.send(&world.owner, world.registry, announcement.clone()), "NotOwner(address)");
    world.send(&heir, world.registry, announcement).unwrap();
}
