//! What settling costs. The table of docs/contracts.md is this one.

use w3bstream_types::quorum;

use crate::cold_chain::{ColdChain, Example};
use crate::world::*;

/// Gas of whole transactions, for a subnet of `members` of which a quorum signs, in a block with one settlement among
/// eight outputs.
fn measured(members: usize) -> [u64; 3] {
    let chain = ColdChain::new(members);
    let world = &chain.world;
    let examples = Example::all();
    let statement = examples[3].words.concat();
    let block = |receiver, data: &[u8]| vec![world.output(receiver, data); 8];
    let recorder = recorder(world);
    let outputs = block(recorder, &statement);
    let attestation = world.subnet.attest(1, &outputs);
    // The second: the first also pays for the receiver's counter, which is zero before.
    world.execute(&attestation, &outputs, 4).unwrap();
    let recorded = world.execute(&attestation, &outputs, 3).unwrap().gas_used;
    let outputs = block(chain.receiver, &statement);
    let attestation = world.subnet.attest(2, &outputs);
    let proved = world.execute_with(&attestation, &outputs, 3, &examples[3].proof).unwrap().gas_used;
    let register = world.register(&Subnet::new(project("another"), 0, members)).unwrap().gas_used;
    [recorded, proved, register]
}

fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[test]
fn the_table_of_the_documentation_is_true() {
    let documentation = include_str!("../../../../docs/contracts.md");
    let lines = [1, 4, 7, 16].map(|members| {
        let [recorded, proved, register] = measured(members).map(grouped);
        format!("| {members} | {} | {recorded} | {proved} | {register} |", quorum(members))
    });
    println!("{}", lines.join("\n"));
    for line in lines {
        assert!(documentation.contains(&line), "docs/contracts.md has not the line {line}");
    }
}
