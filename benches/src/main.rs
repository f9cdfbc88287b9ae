//! `cargo run --release -p w3bstream-benches -- handler [ROUNDS] | parallel [ROUNDS] | bare ADDRESS | readings FOLDER`
#![allow(clippy::print_stdout, reason = "a program that prints tables")]

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use w3bstream_benches::{bare, engines, handler, parallel, readings};

/// The applet of the example, as it is committed.
const APPLET: &[u8] = include_bytes!("../../artefacts/cold-chain.wasm");

/// The argument with which this program is a worker of itself.
const WORKER: &str = "worker";

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|first| first == WORKER) {
        return handler::work();
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            println!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["handler"] => compare_handlers(20_000),
        ["handler", rounds] => {
            compare_handlers(rounds.parse().with_context(|| format!("{rounds:?} is no number of rounds"))?)
        }
        ["parallel"] => parallels(10),
        ["parallel", rounds] => {
            parallels(rounds.parse().with_context(|| format!("{rounds:?} is no number of blocks"))?)
        }
        ["bare", address] => {
            let address =
                address.parse().with_context(|| format!("{address:?} is no address with a port"))?;
            let runtime = tokio::runtime::Runtime::new()?;
            runtime.block_on(bare::serve(address, |bound| println!("http://{bound}")))
        }
        ["readings", folder] => readings::write(Path::new(folder)),
        _ => bail!("say which: handler [ROUNDS], parallel [ROUNDS], bare ADDRESS, or readings FOLDER"),
    }
}

fn parallels(rounds: usize) -> anyhow::Result<()> {
    const MESSAGES: usize = 256;
    if cfg!(debug_assertions) {
        println!("built without optimisation: these times say nothing");
    }
    println!(
        "{rounds} blocks of {MESSAGES} messages of 32 devices on each side by turns; the median block's calls a second"
    );
    let runtime = tokio::runtime::Runtime::new()?;
    for scenario in parallel::scenarios() {
        let sides = runtime.block_on(parallel::compare(&scenario, &[1, 2], (rounds.max(1), MESSAGES)))?;
        let one = sides.first().map_or(f64::NAN, |side| side.calls_per_second);
        println!("{}", scenario.what);
        for parallel::Side { threads, calls_per_second, median } in sides {
            let (took, times) = (format!("{median:.1?}"), calls_per_second / one);
            println!("  threads = {threads}{calls_per_second:>12.0} calls/s{took:>12} a block{times:>8.2}");
        }
    }
    Ok(())
}

fn compare_handlers(rounds: usize) -> anyhow::Result<()> {
    if cfg!(debug_assertions) {
        println!("built without optimisation: these times say nothing");
    }
    let worker = [std::env::current_exe()?.into_os_string(), WORKER.into()];
    handlers(rounds, &worker)?;
    figures(rounds, &worker)?;
    costs(rounds / 200 + 1)
}

fn handlers(rounds: usize, worker: &[OsString]) -> anyhow::Result<()> {
    println!(
        "one call, {rounds} rounds on each side by turns, one thread; median (p99), times wasmtime pooled"
    );
    for compared in handler::compare(rounds, worker)? {
        println!("{}", compared.handler);
        for (name, side) in handler::SIDES.iter().zip(&compared.sides) {
            let (median, p99) = (format!("{:.1?}", side.median), format!("{:.1?}", side.p99));
            println!("  {name:<20}{median:>12}{:>14}{:>8.2}", format!("({p99})"), compared.ratio(side));
        }
    }
    Ok(())
}

fn figures(rounds: usize, worker: &[OsString]) -> anyhow::Result<()> {
    println!("\nour engines; median (p99)");
    for figure in engines::figures(rounds, APPLET, worker)? {
        let (median, p99) = (format!("{:.2?}", figure.median), format!("({:.2?})", figure.p99));
        println!("  {:<44}{:<16}{median:>12}{p99:>14}", figure.what, figure.engine);
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
