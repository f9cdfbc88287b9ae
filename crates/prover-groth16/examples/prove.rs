//! Times one proof: `prove WASM ZKEY INPUT.json [OUT]`.
//!
//! INPUT is a JSON object of all signals, or an example of `circuits/`, which holds one as `input`. Prints how long reading,
//! witness, proof and verification take, each the best of some runs, and the most memory that was in use. Into the
//! folder OUT go `proof.json`, `public.json` and `witness.wtns`, for `snarkjs groth16 verify` and `snarkjs groth16 prove`.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, fs};

use serde_json::{Map, Value};
use w3bstream_prover::{FieldElement, Signals};
use w3bstream_prover_groth16::{Program, ProvingKey, WitnessLimits, proof_to_snarkjs, prove};

/// How often each part is done. The first time is shown too, since it also pays for cold caches.
const RUNS: u32 = 5;

type Failure = Box<dyn Error>;

fn timed<T>(
    name: &str,
    runs: u32,
    mut part: impl FnMut() -> Result<T, w3bstream_prover::Error>,
) -> Result<T, Failure> {
    let begun = Instant::now();
    let mut value = part()?;
    let first = begun.elapsed();
    let mut best = first;
    for _ in 1..runs {
        let begun = Instant::now();
        value = part()?;
        best = best.min(begun.elapsed());
    }
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    say(&format!("{name:<28} {:>9.2} ms   first {:>9.2} ms", ms(best), ms(first)));
    Ok(value)
}

#[allow(clippy::print_stdout, reason = "a program for a terminal")]
fn say(line: &str) {
    println!("{line}");
}

fn signals(input: &Map<String, Value>) -> Result<Signals, Failure> {
    let number = |v: &Value| -> Result<FieldElement, Failure> {
        Ok(FieldElement::from_decimal(v.as_str().ok_or("a value is no decimal text")?)?)
    };
    let one = |(name, value): (&String, &Value)| -> Result<_, Failure> {
        let values = match value {
            Value::Array(all) => all.iter().map(number).collect::<Result<_, _>>()?,
            one => vec![number(one)?],
        };
        Ok((name.clone(), values))
    };
    input.iter().map(one).collect()
}

/// The most resident memory of this process, in KiB, where the system tells (Linux).
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [wasm, zkey, input, out @ ..] = &arguments[..] else {
        return Err("usage: prove WASM ZKEY INPUT.json [OUT]".into());
    };
    let (wasm, zkey) = (fs::read(wasm)?, fs::read(zkey)?);
    let json: Value = serde_json::from_slice(&fs::read(input)?)?;
    let inputs = signals(json.get("input").unwrap_or(&json).as_object().ok_or("the input is no object")?)?;

    let key = timed("reading and checking the key", 1, || ProvingKey::read(&zkey))?;
    let program = timed("compiling the program", 1, || Program::compile(&wasm, WitnessLimits::default()))?;
    let witness = timed("witness", RUNS, || program.run(&inputs))?;
    let proof = timed("proof", RUNS, || prove(&key, &witness))?;
    let public = witness.public(key.verifying().public());
    let holds = timed("verification", RUNS, || Ok(key.verifying().verify(&public, &proof)))?;
    if !holds {
        return Err("the proof does not verify: program and key are of different circuits".into());
    }
    if let Some(kib) = peak_memory() {
        say(&format!("{:<28} {:>9.1} MiB", "most memory in use", kib as f64 / 1024.0));
    }
    if let [out] = out {
        let out = Path::new(out);
        fs::create_dir_all(out)?;
        fs::write(out.join("proof.json"), proof_to_snarkjs(&proof))?;
        let texts: Vec<String> = public.iter().map(|x| x.to_decimal()).collect();
        fs::write(out.join("public.json"), serde_json::to_string(&texts)?)?;
        fs::write(out.join("witness.wtns"), witness.to_wtns())?;
    }
    Ok(())
}
