//! Witness programs that mean no good, and jobs whose artefacts do not belong together.

use std::sync::Arc;

use pollster::block_on;
use w3bstream_prover::{ErrorKind, JobState, MemoryArtefacts, Prover as _};
use w3bstream_prover_groth16::{Config, Groth16Prover, Program, WitnessLimits};

use crate::day::{WASM_BYTES, ZKEY_BYTES, examples};

const LIMITS: WitnessLimits =
    WitnessLimits { program_bytes: 1 << 20, memory_bytes: 1 << 20, operators: 2_000_000, signals: 100 };

/// circom's interface, with parts that a test replaces. The circuit has one input `x` and the witness (1, x).
struct Fake {
    init: &'static str,
    set: &'static str,
    get: &'static str,
    size: u32,
    head: &'static str,
}

const HONEST: Fake = Fake {
    init: "",
    set: "(memory.copy (i32.const 64) (i32.const 0) (i32.const 32))",
    get: "(if (local.get 0)
            (then (memory.copy (i32.const 0) (i32.const 64) (i32.const 32)))
            (else (memory.fill (i32.const 0) (i32.const 0) (i32.const 32)) (i32.store (i32.const 0) (i32.const 1))))",
    size: 2,
    head: "",
};

impl Fake {
    fn wasm(&self) -> Vec<u8> {
        let mut prime = w3bstream_prover::MODULUS;
        prime.reverse();
        let prime: String = prime.iter().map(|b| format!("\\{b:02x}")).collect();
        let Self { init, set, get, size, head } = self;
        let text = format!(
            r#"(module
            (import "runtime" "exceptionHandler" (func $throw (param i32)))
            {head}
            (memory (export "memory") 1)
            (data (i32.const 1024) "{prime}")
            (func (export "getVersion") (result i32) (i32.const 2))
            (func (export "getFieldNumLen32") (result i32) (i32.const 8))
            (func (export "getRawPrime") (memory.copy (i32.const 0) (i32.const 1024) (i32.const 32)))
            (func (export "readSharedRWMemory") (param i32) (result i32)
                (i32.load (i32.mul (local.get 0) (i32.const 4))))
            (func (export "writeSharedRWMemory") (param i32 i32)
                (i32.store (i32.mul (local.get 0) (i32.const 4)) (local.get 1)))
            (func (export "getInputSize") (result i32) (i32.const 1))
            (func (export "getInputSignalSize") (param i32 i32) (result i32) (i32.const 1))
            (func (export "getWitnessSize") (result i32) (i32.const {size}))
            (func $init (export "init") (param i32) {init})
            (func (export "setInputSignal") (param i32 i32 i32) {set})
            (func (export "getWitness") (param i32) {get}))"#
        );
        wat::parse_str(text).unwrap()
    }

    fn run(&self) -> Result<(), w3bstream_prover::Error> {
        let program = Program::compile(&self.wasm(), LIMITS)?;
        program.run(&vec![("x".into(), vec![7.into()])]).map(drop)
    }
}

#[test]
fn a_small_honest_program_runs() {
    HONEST.run().unwrap();
    let witness = Program::compile(&HONEST.wasm(), LIMITS).unwrap();
    let witness = witness.run(&vec![("x".into(), vec![7.into()])]).unwrap();
    assert!(witness.has_public(&[7.into()]) && !witness.has_public(&[8.into()]));
    assert!(!witness.has_public(&[7.into(), 7.into()]));
}

#[test]
fn programs_that_never_end_or_want_everything_are_stopped() {
    let stopped = |fake: Fake, why: &str| {
        let error = fake.run().unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        error.kind()
    };
    let endless = "(loop (br 0))";
    let more = "more operators than a program may run";
    assert_eq!(stopped(Fake { init: endless, ..HONEST }, more), ErrorKind::Signals);
    stopped(Fake { set: endless, ..HONEST }, more);
    stopped(Fake { get: endless, ..HONEST }, more);
    stopped(Fake { head: "(func $f (loop (br 0))) (start $f)", ..HONEST }, "cannot be started");
    stopped(Fake { init: "(call $init (i32.const 0))", ..HONEST }, "trapped");
    stopped(Fake { init: "unreachable", ..HONEST }, "trapped");
    stopped(Fake { init: "(call $throw (i32.const 4))", ..HONEST }, "does not satisfy");
    stopped(Fake { size: 101, ..HONEST }, "the most are 100");
    stopped(Fake { size: u32::MAX, ..HONEST }, "the most are 100");
}

#[test]
fn memory_and_tables_have_limits() {
    // 1 MiB are 16 pages, and it has one.
    let grow = "(if (i32.eq (memory.grow (i32.const 15)) (i32.const -1)) (then unreachable))";
    Fake { init: grow, ..HONEST }.run().unwrap();
    let grow = "(if (i32.ne (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))";
    Fake { init: grow, ..HONEST }.run().unwrap();
    let table = "(table 2000000 funcref)";
    let error = Fake { head: table, ..HONEST }.run().unwrap_err();
    assert!(error.to_string().contains("table"), "{error}");
    let large = wat::parse_str("(module (memory (export \"memory\") 17))").unwrap();
    let error = Program::compile(&large, LIMITS).unwrap().run(&Vec::new()).unwrap_err();
    assert!(error.to_string().contains("17 pages"), "{error}");
}

#[test]
fn what_is_no_program_of_circom_is_refused() {
    let compile = |text: &str| Program::compile(&wat::parse_str(text).unwrap(), LIMITS);
    for text in [
        r#"(module (import "env" "f" (func)))"#,
        r#"(module (import "runtime" "m" (memory 1)))"#,
        r#"(module (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32))))"#,
    ] {
        assert_eq!(compile(text).unwrap_err().kind(), ErrorKind::Artefact, "{text}");
    }
    let result = compile(r#"(module (import "runtime" "f" (func (result i32))))"#).unwrap();
    assert_eq!(result.run(&Vec::new()).unwrap_err().kind(), ErrorKind::Artefact);
    let empty = compile("(module)").unwrap().run(&Vec::new()).unwrap_err();
    assert!(empty.to_string().contains("does not export readSharedRWMemory"), "{empty}");
    for bytes in [&b""[..], b"\0asm", &[0xff; 100], &WASM_BYTES[..WASM_BYTES.len() / 2]] {
        assert_eq!(Program::compile(bytes, LIMITS).unwrap_err().kind(), ErrorKind::Artefact);
    }
    let small = WitnessLimits { program_bytes: WASM_BYTES.len() - 1, ..LIMITS };
    assert!(Program::compile(&WASM_BYTES, small).unwrap_err().to_string().contains("the most are"));
}

#[test]
fn numbers_beyond_the_field_and_another_constant_are_refused() {
    let all = "(memory.fill (i32.const 0) (i32.const 255) (i32.const 32))";
    let error = Fake { get: all, ..HONEST }.run().unwrap_err();
    assert!(error.to_string().contains("beyond the field"), "{error}");
    let seven = "(memory.copy (i32.const 0) (i32.const 64) (i32.const 32))";
    let error = Fake { get: seven, ..HONEST }.run().unwrap_err();
    assert!(error.to_string().contains("without the constant 1"), "{error}");
}

#[test]
fn artefacts_that_do_not_belong_together_give_no_proof() {
    let prover = Groth16Prover::start(&Config::default()).unwrap();
    let artefacts = Arc::new(MemoryArtefacts::new());
    artefacts.put(&ZKEY_BYTES);
    artefacts.put(&WASM_BYTES);
    let fake = artefacts.put(&HONEST.wasm());
    let nothing = artefacts.put(b"nothing");
    let good = examples()[0].job();
    let end = |change: &dyn Fn(&mut w3bstream_prover::Job)| {
        let mut job = good.clone();
        change(&mut job);
        job.id = w3bstream_types::Digest::of(format!("{job:?}").as_bytes());
        let id = job.id;
        block_on(prover.submit(job, artefacts.clone())).unwrap();
        match block_on(prover.wait(id)).unwrap() {
            JobState::Failed { reason, retry: false } => reason,
            other => panic!("{other:?}"),
        }
    };
    let reason = end(&|job| {
        job.circuit.witness = fake;
        job.inputs = vec![("x".into(), vec![7.into()])];
    });
    assert!(reason.contains("other public numbers"), "{reason}");
    assert!(end(&|job| job.circuit.witness = nothing).contains("does not compile"));
    assert!(end(&|job| job.circuit.key = nothing).contains("zkey"));
    let proof = examples()[0].proof();
    let circuit = w3bstream_prover::Circuit { key: nothing, ..good.circuit.clone() };
    let verdict = block_on(prover.verify(&circuit, &good.public, &proof, artefacts));
    assert_eq!(verdict.unwrap_err().kind(), ErrorKind::Artefact);
    block_on(prover.close()).unwrap();
}

#[test]
fn closing_tells_waiters_and_ends_what_runs() {
    let prover = Groth16Prover::start(&Config { threads: 2, ..Config::default() }).unwrap();
    let jobs: Vec<_> = examples().iter().map(crate::day::Example::job).collect();
    for job in &jobs {
        block_on(prover.submit(job.clone(), crate::day::artefacts())).unwrap();
    }
    let last = jobs.last().unwrap().id;
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| block_on(prover.wait(last)));
        // However the two meet: it hears a result or that the prover is closed, and never waits on.
        block_on(prover.close()).unwrap();
        let heard = waiting.join().unwrap();
        assert!(
            heard.as_ref().is_ok_and(JobState::is_final) || heard.unwrap_err().kind() == ErrorKind::Closed
        );
    });
}

#[test]
fn old_results_make_room() {
    let prover = Groth16Prover::start(&Config { results: 1, ..Config::default() }).unwrap();
    let jobs: Vec<_> = examples().iter().take(2).map(crate::day::Example::job).collect();
    for job in &jobs {
        block_on(prover.submit(job.clone(), crate::day::artefacts())).unwrap();
        assert!(matches!(block_on(prover.wait(job.id)).unwrap(), JobState::Done(_)));
    }
    assert_eq!(block_on(prover.state(jobs[0].id)).unwrap(), None);
    assert!(block_on(prover.state(jobs[1].id)).unwrap().is_some());
    block_on(prover.close()).unwrap();
}
