//! `cargo run --release -p w3bstream-benches -- handler [ROUNDS]`
#![allow(clippy::print_stdout, reason = "a program that prints tables")]

use std::path::Path;

use anyhow::{Context as _, bail};
use w3bstream_benches::{engines, handler};

/// The applet of the example, as it is committed.
const APPLET: &str = "../artefacts/cold-chain.wasm";

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
    handlers(rounds)?;
    figures(rounds)?;
    costs(rounds / 200 + 1)
}

fn handlers(rounds: usize) -> anyhow::Result<()> {
    println!(
        "one call, {rounds} rounds on each side by turns, one thread; median (p99), times wasmtime pooled"
    );
    for compared in handler::compare(rounds)? {
        println!("{}", compared.handler);
        for (name, side) in handler::SIDES.iter().zip(&compared.sides) {
            let (median, p99) = (format!("{:.1?}", side.median), format!("{:.1?}", side.p99));
            println!("  {name:<20}{median:>12}{:>14}{:>8.2}", format!("({p99})"), compared.ratio(side));
        }
    }
    Ok(())
}

fn figures(rounds: usize) -> anyhow::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(APPLET);
    let applet = std::fs::read(&path).with_context(|| path.display().to_string())?;
    println!("\nour engines; median (p99)");
    for figure in engines::figures(rounds, &applet)? {
        let (median, p99) = (format!("{:.2?}", figure.median), format!("({:.2?})", figure.p99));
        println!("  {:<44}{:<10}{median:>12}{p99:>14}", figure.what, figure.engine);
    }
    Ok(())
}

fn costs(rounds: usize) -> anyhow::Result<()> {
    println!("\nthe instrumentation pass, {rounds} rounds on wasmtime by turns; median");
    for cost in engines::costs(rounds)? {
        let (plain, ours) = (format!("{:.1?}", cost.plain), format!("{:.1?}", cost.instrumented));
        let ratio = cost.instrumented.as_secs_f64() / cost.plain.as_secs_f64();
        println!("  {:<34}{plain:>12} plain{ours:>12} instrumented{ratio:>8.2}", cost.kernel);
    }
    Ok(())
}
