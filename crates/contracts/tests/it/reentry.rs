//! A receiver that calls the Executor while the Executor calls it.

use w3bstream_contracts::function_selector;
use w3bstream_types::{Address, Output};

use crate::world::*;

fn prepare(world: &World, receiver: Address, data: &[u8]) {
    let mut padded = data.to_vec();
    padded.resize(data.len().next_multiple_of(32), 0);
    let words = [word(32), word(data.len() as u64)];
    let call = [&function_selector("prepare(bytes)")[..], &words.concat(), &padded].concat();
    world.send(&world.owner, receiver, call).unwrap();
}

fn asked(world: &World, receiver: Address, what: &str) -> u64 {
    number(world.read(receiver, call(what, &[])))
}

#[test]
fn the_output_that_is_being_executed_counts_as_executed() {
    let world = World::new(4);
    let receiver = world.create(REENTRANT, &[address_word(world.executor)]);
    let outputs = [world.output(receiver, b"x")];
    let attestation = world.subnet.attest(1, &outputs);
    prepare(&world, receiver, &call_data(&attestation, &outputs, 0, &[]));
    // Also under another attestation of the same block.
    let all = world.subnet.sign(world.subnet.statement(1, &outputs), 4);
    prepare(&world, receiver, &call_data(&all, &outputs, 0, b"other"));
    world.execute(&attestation, &outputs, 0).unwrap();
    assert_eq!(asked(&world, receiver, "received()"), 1);
    assert_eq!(asked(&world, receiver, "attempts()"), 2);
    for attempt in 0..2 {
        let ok = world.read(receiver, call("succeeded(uint256)", &[word(attempt)]));
        assert_eq!(number(ok), 0);
        let answer = world.read(receiver, call("answers(uint256)", &[word(attempt)])).unwrap();
        assert_eq!(answer[64..68], function_selector("AlreadyExecuted(bytes32)"));
    }
}

#[test]
fn other_outputs_can_be_executed_meanwhile_each_once() {
    let world = World::new(4);
    let receiver = world.create(REENTRANT, &[address_word(world.executor)]);
    let outputs: Vec<Output> = (0..3u8).map(|i| world.output(receiver, &[i])).collect();
    let attestation = world.subnet.attest(1, &outputs);
    for index in [1, 2, 1, 0] {
        prepare(&world, receiver, &call_data(&attestation, &outputs, index, &[]));
    }
    let receipt = world.execute(&attestation, &outputs, 0).unwrap();
    assert_eq!(asked(&world, receiver, "received()"), 3);
    assert_eq!(asked(&world, receiver, "deepest()"), 2);
    let succeeded: Vec<u64> =
        (0..4).map(|i| number(world.read(receiver, call("succeeded(uint256)", &[word(i)])))).collect();
    assert_eq!(succeeded, [1, 1, 0, 0]);
    assert_eq!(receipt.logs.len(), 3, "one event for each output");
    for index in 0..3 {
        refused(world.execute(&attestation, &outputs, index), "AlreadyExecuted(bytes32)");
    }
}
