//! Outputs arrive once, whole, and only where they are meant to.

use w3bstream_contracts::{EXECUTOR, ExecutionError, OutputRef, Settled, decode_bool, executed_call};
use w3bstream_types::{Address, Output, merkle, output_leaves};

use crate::world::*;

fn decoded<T: std::fmt::Debug>(result: Result<T, Reverted>) -> Option<ExecutionError> {
    ExecutionError::decode(&result.unwrap_err())
}

#[test]
fn an_output_is_executed_once_and_leaves_its_event() {
    let world = World::new(4);
    let receiver = recorder(&world);
    let outputs: Vec<Output> = (0..5u8).map(|i| world.output(receiver, &[i; 33])).collect();
    let attestation = world.subnet.attest(7, &outputs);
    for index in [3usize, 0, 4, 1, 2] {
        let output =
            OutputRef { subnet: world.subnet.genesis.project.0, epoch: 0, height: 7, index: index as u64 };
        let executed = || decode_bool(&world.read(world.executor, executed_call(&output)).unwrap()).unwrap();
        assert!(!executed());
        let receipt = world.execute(&attestation, &outputs, index).unwrap();
        assert!(executed());
        // First the Executor's event, then the receiver's.
        assert_eq!(receipt.logs.len(), 2);
        assert_eq!((receipt.logs[0].address, receipt.logs[1].address), (world.executor, receiver));
        let topics: Vec<[u8; 32]> = receipt.logs[0].topics.iter().map(|t| *t.as_bytes()).collect();
        let settled = Settled::decode(&topics, &receipt.logs[0].data).unwrap().unwrap();
        assert_eq!((settled.output, settled.receiver), (output, receiver));
        assert_eq!(settled.leaf, outputs[index].leaf(index as u64));
        assert_eq!(
            decoded(world.execute(&attestation, &outputs, index)),
            Some(ExecutionError::AlreadyExecuted)
        );
        // Nor under a different attestation of the same block, with more signatures.
        let all = world.subnet.sign(world.subnet.statement(7, &outputs), 4);
        assert_eq!(decoded(world.execute(&all, &outputs, index)), Some(ExecutionError::AlreadyExecuted));
    }
    assert_eq!(count(&world, receiver), 5);
}

#[test]
fn anybody_may_execute() {
    let world = World::new(1);
    let receiver = recorder(&world);
    let outputs = [world.output(receiver, b"x")];
    let attestation = world.subnet.attest(1, &outputs);
    let anybody = w3bstream_chain_dev::dev_key(5);
    world.send(&anybody, world.executor, call_data(&attestation, &outputs, 0, &[])).unwrap();
    assert_eq!(count(&world, receiver), 1);
}

#[test]
fn the_same_place_of_another_block_is_another_output() {
    let world = World::new(1);
    let receiver = recorder(&world);
    let outputs = [world.output(receiver, b"x"), world.output(receiver, b"x")];
    for height in [1, 2, 300] {
        for index in 0..2 {
            world.execute(&world.subnet.attest(height, &outputs), &outputs, index).unwrap();
        }
    }
    assert_eq!(count(&world, receiver), 6);
}

#[test]
fn what_is_not_attested_is_not_executed() {
    let world = World::new(4);
    let (receiver, elsewhere) = (recorder(&world), recorder(&world));
    let outputs: Vec<Output> = (0..3u8).map(|i| world.output(receiver, &[i; 40])).collect();
    let attestation = world.subnet.attest(7, &outputs);
    let forge = |change: &dyn Fn(&mut Output)| {
        let mut forged = outputs.clone();
        change(&mut forged[1]);
        // The path is that of the true tree; only the leaf is another.
        let data = call_data(&attestation, &outputs, 1, &[]);
        let honest = merkle::path(&output_leaves(&outputs), 1).unwrap();
        let execution = w3bstream_contracts::Execution {
            attestation: &attestation,
            output: &forged[1],
            index: 1,
            leaf_count: 3,
            path: &honest,
            proof: &[],
        };
        let forged = execution.call_data().unwrap();
        assert_ne!(forged, data);
        world.send(&world.owner, world.executor, forged)
    };
    let not_included = Some(ExecutionError::NotIncluded);
    assert_eq!(decoded(forge(&|o| o.data[0] ^= 1)), not_included);
    assert_eq!(decoded(forge(&|o| o.data.push(0))), not_included);
    assert_eq!(
        decoded(forge(&|o| {
            o.data.pop();
        })),
        not_included
    );
    assert_eq!(decoded(forge(&|o| o.data.clear())), not_included);
    assert_eq!(decoded(forge(&|o| o.target[20..].copy_from_slice(elsewhere.as_bytes()))), not_included);
    // Another place, another size where that matters, another path.
    let at = |index: u64, leaf_count: u64, path: &[w3bstream_types::Digest]| {
        let execution = w3bstream_contracts::Execution {
            attestation: &attestation,
            output: &outputs[1],
            index,
            leaf_count,
            path,
            proof: &[],
        };
        world.send(&world.owner, world.executor, execution.call_data().unwrap())
    };
    let path = merkle::path(&output_leaves(&outputs), 1).unwrap();
    for (index, size) in
        [(0, 3), (2, 3), (1, 2), (1, 1), (3, 3), (5, 8), (u64::MAX, 3), (1, 0), (1, u64::MAX)]
    {
        assert_eq!(decoded(at(index, size, &path)), not_included, "{index} of {size}");
    }
    assert_eq!(decoded(at(1, 3, &path[..1])), not_included);
    assert_eq!(decoded(at(1, 3, &[&path[..], &path[..1]].concat())), not_included);
    assert_eq!(decoded(at(1, 3, &[path[1], path[0]])), not_included);
    assert_eq!(decoded(at(1, 3, &[])), not_included);
    assert_eq!((count(&world, receiver), count(&world, elsewhere)), (0, 0));
    // No signature covers the size: 4 leads the same way as 3, and it is the same output.
    at(1, 4, &path).unwrap();
    assert_eq!(decoded(at(1, 3, &path)), Some(ExecutionError::AlreadyExecuted));
}

#[test]
fn another_chain_and_another_executor_refuse() {
    let world = World::new(4);
    let receiver = recorder(&world);
    let outputs = [world.output(receiver, b"x")];
    let attestation = world.subnet.attest(7, &outputs);
    // The same contracts at the same addresses with the same members on a chain with another id.
    let other = World::of(world.subnet.clone(), CHAIN_ID + 1);
    let there = recorder(&other);
    assert_eq!((other.executor, there), (world.executor, receiver));
    let not_included = Some(ExecutionError::NotIncluded);
    assert_eq!(decoded(other.execute(&attestation, &outputs, 0)), not_included);
    // Two to the 64 more, cut to 64 bits, would be the same id.
    let second = world.deploy(w3bstream_contracts::deploy::executor(&world.registry)).unwrap();
    let sent = world.send(&world.owner, second, call_data(&attestation, &outputs, 0, &[]));
    assert_eq!(decoded(sent), not_included);
    world.execute(&attestation, &outputs, 0).unwrap();
    assert_eq!((count(&world, receiver), count(&other, there)), (1, 0));
}

fn bad_receiver(world: &World, mode: u64) -> Address {
    let receiver = world.create(BAD_RECEIVER, &[]);
    set(world, receiver, mode);
    receiver
}

fn set(world: &World, receiver: Address, mode: u64) {
    world.send(&world.owner, receiver, call("set(uint8)", &[word(mode)])).unwrap();
}

#[test]
fn a_receiver_that_fails_leaves_the_output_open() {
    let world = World::new(1);
    for mode in 1..=6 {
        let receiver = bad_receiver(&world, mode);
        let outputs = [world.output(receiver, b"x")];
        let attestation = world.subnet.attest(mode, &outputs);
        let error = world.execute(&attestation, &outputs, 0).unwrap_err();
        let reason = match ExecutionError::decode(&error) {
            Some(ExecutionError::ReceiverReverted(reason)) => Some(reason),
            Some(ExecutionError::NoReceiver) => None,
            other => panic!("mode {mode}: {other:?}"),
        };
        let expected = match mode {
            1 => Some(call("NotToday(uint256)", &[word(42)])),
            2 => Some(call("Panic(uint256)", &[word(1)])),
            3 | 4 => None,
            // Of a long reason only so much is kept.
            5 => Some(vec![0; 4096]),
            _ => Some(vec![]),
        };
        // Memory that Solidity had used before is part of the long reason.
        let same = if mode == 5 {
            reason.as_ref().map(Vec::len) == expected.as_ref().map(Vec::len)
        } else {
            reason == expected
        };
        assert!(same, "mode {mode}: {reason:?}");
        let received = || number(world.read(receiver, call("received()", &[])));
        assert_eq!(received(), 0);
        // It recovers, and the output is still there; then it is gone.
        set(&world, receiver, 0);
        world.execute(&attestation, &outputs, 0).unwrap();
        assert_eq!(decoded(world.execute(&attestation, &outputs, 0)), Some(ExecutionError::AlreadyExecuted));
        assert_eq!(received(), 1);
    }
}

#[test]
fn where_there_is_no_receiver_nothing_is_used_up() {
    let world = World::new(1);
    let swallower = world.create(SWALLOWER, &[]);
    let precompile = Address::from_bytes([&[0; 19][..], &[4]].concat().try_into().unwrap());
    for (height, target) in
        [(1, Address::from_bytes([0x55; 20])), (2, swallower), (3, precompile), (4, world.account())]
    {
        let outputs = [world.output(target, b"x")];
        let attestation = world.subnet.attest(height, &outputs);
        let answer = decoded(world.execute(&attestation, &outputs, 0));
        assert_eq!(answer, Some(ExecutionError::NoReceiver), "{target}");
        let output = OutputRef { subnet: world.subnet.genesis.project.0, epoch: 0, height, index: 0 };
        let answer = world.read(world.executor, executed_call(&output)).unwrap();
        assert!(!decode_bool(&answer).unwrap());
    }
}

#[test]
fn too_little_gas_does_not_use_an_output_up() {
    let world = World::new(1);
    let receiver = recorder(&world);
    let outputs = [world.output(receiver, &[7; 2000])];
    let attestation = world.subnet.attest(1, &outputs);
    let data = call_data(&attestation, &outputs, 0, &[]);
    let output = OutputRef { subnet: world.subnet.genesis.project.0, epoch: 0, height: 1, index: 0 };
    let executed = || {
        let answer = world.read(world.executor, executed_call(&output)).unwrap();
        decode_bool(&answer).unwrap()
    };
    let (mut failed, mut succeeded) = (0, 0);
    // At every limit the call fails as a whole or delivers. Less than the first is refused by the chain itself.
    for gas in (150_000..230_000).step_by(1_000) {
        let before = world.chain.snapshot();
        let to = Some(world.executor);
        let receipt = world.chain.transact_with_gas(&world.owner, to, data.clone(), gas).unwrap();
        assert_eq!(receipt.success, executed(), "with {gas} gas");
        assert_eq!(receipt.success, count(&world, receiver) == 1, "with {gas} gas");
        (failed, succeeded) = (failed + u64::from(!receipt.success), succeeded + u64::from(receipt.success));
        world.chain.restore(&before).unwrap();
        assert!(!executed());
    }
    assert!(failed > 0 && succeeded > 0, "{failed} failed, {succeeded} succeeded");
}

#[test]
fn leaves_are_hashed_as_the_types_do() {
    let world = World::new(1);
    let target = Address::from_bytes([0xab; 20]);
    for (index, data) in [(0u64, vec![]), (1, vec![1]), (u64::MAX, vec![2; 32]), (9, vec![3; 288])] {
        let output = world.output(target, &data);
        let length = data.len();
        let mut words =
            vec![word(32), word(index), word(6), address_word(target), word(128), word(length as u64)];
        let mut padded = data.clone();
        padded.resize(length.next_multiple_of(32), 0);
        words.extend(padded.chunks(32).map(|c| <[u8; 32]>::try_from(c).unwrap()));
        let answer = world.read(world.executor, call("leafHash((uint64,uint16,address,bytes))", &words));
        assert_eq!(answer.unwrap(), output.leaf(index).as_bytes());
    }
    names(EXECUTOR, "leafHash");
}
