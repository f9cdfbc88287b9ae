//! `cargo run --release -p w3bstream-benches -- handler [ROUNDS]`
#![allow(clippy::print_stdout, reason = "a program that prints a table")]

use anyhow::{Context as _, bail};
use w3bstream_benches::handler;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["handler"] => 20_000,
        ["handler", rounds] => {
            rounds.parse().with_context(|| format!("{rounds:?} is no number of rounds"))?
        }
        _ => bail!("say which bench: handler [ROUNDS]"),
    };
    if cfg!(debug_assertions) {
        println!("built without optimisation: these times say nothing");
    }
    println!("one call in a fresh instance, {rounds} rounds on each side by turns, one thread; median (p99)");
    println!("{:<32}{:>26}{:>26}{:>8}{:>8}", "handler", "ours", "plain wasmer", "ratio", "gas");
    for compared in handler::compare(rounds)? {
        let shown = |side: &handler::Side| format!("{:.1?} ({:.1?})", side.median, side.p99);
        let handler::Comparison { handler, ours, plain, gas } = &compared;
        let ratio = compared.ratio();
        println!("{handler:<32}{:>26}{:>26}{ratio:>8.2}{gas:>8}", shown(ours), shown(plain));
    }
    Ok(())
}
