//! `cargo run --release -p w3bstream-benches -- handler [ROUNDS] | bare ADDRESS | readings FOLDER`
#![allow(clippy::print_stdout, reason = "a program that prints a table")]

use std::path::Path;

use anyhow::{Context as _, bail};
use w3bstream_benches::{bare, handler, readings};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["handler"] => compare_handlers(20_000),
        ["handler", rounds] => {
            compare_handlers(rounds.parse().with_context(|| format!("{rounds:?} is no number of rounds"))?)
        }
        ["bare", address] => {
            let address =
                address.parse().with_context(|| format!("{address:?} is no address with a port"))?;
            let runtime = tokio::runtime::Runtime::new()?;
            runtime.block_on(bare::serve(address, |bound| println!("http://{bound}")))
        }
        ["readings", folder] => readings::write(Path::new(folder)),
        _ => bail!("say which: handler [ROUNDS], bare ADDRESS, or readings FOLDER"),
    }
}

fn compare_handlers(rounds: usize) -> anyhow::Result<()> {
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
