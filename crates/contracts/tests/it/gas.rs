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
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// Whether a line of the documentation is a row of the table: its first cell is a number.
fn is_row(line: &str) -> bool {
    line.strip_prefix("| ").is_some_and(|cells| cells.starts_with(|c: char| c.is_ascii_digit()))
}

#[test]
fn the_table_of_the_documentation_is_true() {
    let measured = [1, 4, 7, 16].map(|members| {
        let [recorded, proved, register] = measured(members).map(grouped);
        format!("| {members} | {} | {recorded} | {proved} | {register} |", quorum(members))
    });
    let measured = measured.join("\n");
    println!("{measured}");
    let documentation = include_str!("../../../../docs/contracts.md");
    let rows: Vec<&str> = documentation.lines().filter(|line| is_row(line)).collect();
    assert!(!rows.is_empty(), "docs/contracts.md has no row; measured:\n{measured}");
    for row in rows {
        let known = measured.lines().any(|line| line == row);
        assert!(known, "docs/contracts.md has the row {row}; measured:\n{measured}");
    }
}
