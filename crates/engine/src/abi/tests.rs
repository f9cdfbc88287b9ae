use std::collections::BTreeSet;

use w3bstream_types::{EventType, GuestLimits};

use super::*;
use crate::instrument::{Import, Reserved, Signature, ValueType};
use crate::{Call, HostState, Outcome};

/// One page of memory and gas.
struct Fake {
    memory: Vec<u8>,
    gas: i64,
}

impl Default for Fake {
    fn default() -> Self {
        Self { memory: vec![0; 65_536], gas: 1_000_000 }
    }
}

impl Guest for Fake {
    fn memory_size(&mut self) -> u64 {
        self.memory.len() as u64
    }

    fn read(&mut self, at: u32, into: &mut [u8]) -> bool {
        let at = at as usize;
        self.memory.get(at..at + into.len()).map(|m| into.copy_from_slice(m)).is_some()
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> bool {
        let at = at as usize;
        self.memory.get_mut(at..at + bytes.len()).map(|m| m.copy_from_slice(bytes)).is_some()
    }

    fn alloc(&mut self, _: i32) -> Result<i32, Stopped> {
        Ok(1_024)
    }

    fn gas(&mut self) -> i64 {
        self.gas
    }

    fn set_gas(&mut self, gas: i64) {
        self.gas = gas;
    }
}

struct Empty;

impl HostState for Empty {
    fn kv_get(&mut self, _: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(None)
    }
}

/// A machine whose handler is a closure.
struct Closure<F>(F, i64);

impl<F: FnMut(&mut Fake) -> Result<i32, Stopped>> Machine for Closure<F> {
    fn set(&mut self, global: Reserved, value: i64) -> Result<(), Error> {
        if global == Reserved::Gas {
            self.1 = value;
        }
        Ok(())
    }

    fn get(&mut self, global: Reserved) -> Result<i64, Error> {
        Ok(if global == Reserved::Gas { self.1 } else { 0 })
    }

    fn start(&mut self, _: &str) -> Result<(), Stopped> {
        Ok(())
    }

    fn handle(&mut self, _: &str, _: i32) -> Result<i32, Stopped> {
        let mut guest = Fake { gas: self.1, ..Fake::default() };
        let result = (self.0)(&mut guest);
        self.1 = guest.gas;
        result
    }
}

fn run(
    state: &mut dyn HostState,
    handler: impl FnMut(&mut Fake) -> Result<i32, Stopped>,
) -> Result<Outcome, Error> {
    let text =
        r#"(module (memory (export "memory") 1) (func (export "h") (param i32) (result i32) (i32.const 1)))"#;
    let program = Program::prepare(&wat::parse_str(text).expect("text")).expect("a program");
    let event_type: EventType = "e".parse().expect("a label");
    let limits = GuestLimits::default();
    let call = Call { rid: 7, ..Call::of("h", &event_type, b"p", &limits) };
    execute(&program, call, state, || Ok(Closure(handler, 0)))
}

fn host(name: &str) -> &'static HostFunction {
    HostFunction::all().iter().find(|f| f.name == name).expect("a host function")
}

#[test]
fn a_host_function_outside_of_a_call_only_traps() {
    assert_eq!(invoke(&mut Fake::default(), host("seed"), &[]), Err(Trap));
}

#[test]
fn a_host_function_on_another_thread_only_traps() {
    let outcome = run(&mut Empty, |_| {
        let other = std::thread::spawn(|| invoke(&mut Fake::default(), host("seed"), &[]));
        assert_eq!(other.join().expect("no panic"), Err(Trap));
        Ok(1)
    });
    assert_eq!(outcome.expect("an outcome").result, Ok(1));
}

#[test]
fn a_call_inside_a_call_has_its_own_context() {
    struct Nested;

    impl HostState for Nested {
        fn kv_get(&mut self, _: &[u8]) -> Result<Option<Vec<u8>>, Error> {
            // Whoever reads state may run another guest for it; it must not see this one's context.
            let inner = run(&mut Empty, |guest| {
                let set = [8, 1, 8, 1].map(Value::I32);
                assert_eq!(invoke(guest, host("ws_set_db"), &set), Ok(Some(Value::I32(0))));
                Ok(5)
            })?;
            assert_eq!((inner.result, inner.writes.len()), (Ok(5), 1));
            Ok(Some(b"value".to_vec()))
        }
    }

    let outcome = run(&mut Nested, |guest| {
        let get = [8, 1, 16, 20].map(Value::I32);
        assert_eq!(invoke(guest, host("ws_get_db"), &get), Ok(Some(Value::I32(0))));
        assert_eq!(&guest.memory[1_024..1_029], b"value");
        Ok(1)
    });
    let outcome = outcome.expect("an outcome");
    assert_eq!(
        (outcome.result, outcome.writes.len()),
        (Ok(1), 0),
        "the inner call's write is not this one's"
    );
}

#[test]
fn a_panic_of_the_engine_is_an_error_and_leaves_the_thread_usable() {
    let e = run(&mut Empty, |_| panic!("the engine's own fault")).expect_err("no outcome");
    assert_eq!(e.kind(), crate::ErrorKind::Host);
    assert_eq!(invoke(&mut Fake::default(), host("seed"), &[]), Err(Trap), "the context is gone");
    assert_eq!(run(&mut Empty, |_| Ok(3)).expect("an outcome").result, Ok(3));
}

#[test]
fn a_guest_that_swallows_a_stop_is_stopped_anyway() {
    // An engine that does not raise the trap must not turn a failed call into a good one.
    let outcome = run(&mut Empty, |guest| {
        assert_eq!(invoke(guest, host("proc_exit"), &[Value::I32(0)]), Err(Trap));
        Ok(1)
    });
    assert_eq!(outcome.expect("an outcome").result, Err(GuestError::Exit));
}

#[test]
fn functions_are_named_once_and_complete() {
    // Two forms of one function differ in their parameters.
    let names: BTreeSet<_> = HostFunction::all().iter().map(|f| (f.module, f.name, f.params.len())).collect();
    assert_eq!(names.len(), HostFunction::all().len());
    let of = |module: &str| names.iter().filter(|(m, ..)| *m == module).count();
    assert_eq!((of("env"), of("stat"), of("wasi_snapshot_preview1")), (23, 1, 46));
}

#[test]
fn whoever_hands_data_over_needs_alloc() {
    // All that end with two out pointers, by the ABI's rule for their parameters.
    let handing = [
        "ws_get_data",
        "ws_get_db",
        "ws_get_env",
        "ws_get_event_type",
        "ws_get_context",
        "ws_call_contract",
        "ws_send_tx",
        "ws_send_tx_with_operator",
        "ws_get_mqtt_msg",
        "ws_api_call",
        "ws_get_sql_db",
    ];
    let found: Vec<_> = HostFunction::all().iter().filter(|f| f.allocates()).map(|f| f.name).collect();
    assert_eq!(BTreeSet::from(handing), found.into_iter().collect());
}

#[test]
fn unknown_imports_are_explained() {
    let import = |module: &str, name: &str, params: usize| Import {
        module: module.to_owned(),
        name: name.to_owned(),
        signature: Signature { params: vec![ValueType::I32; params], results: vec![ValueType::I32] },
    };
    let why = |i: Import| HostFunction::resolve(&i).expect_err("unknown").to_string();
    assert_eq!(HostFunction::resolve(&import("env", "ws_log", 3)).expect("known").name, "ws_log");
    assert_eq!(
        why(import("env", "ws_getdata", 3)),
        "imports env.ws_getdata, which does not exist; did you mean env.ws_get_data?"
    );
    assert_eq!(why(import("env", "xyzzy", 3)), "imports env.xyzzy, which does not exist");
    assert_eq!(
        why(import("env", "ws_log", 2)),
        "imports env.ws_log, as (i32, i32) -> (i32); it must be (i32, i32, i32) -> (i32)"
    );
    assert_eq!(
        why(import("env", "ws_send_tx", 3)),
        "imports env.ws_send_tx, as (i32, i32, i32) -> (i32); it must be (i32, i32, i32, i32, i32) -> (i32) or (i32, \
         i32) -> (i32)"
    );
    assert_eq!(
        why(import("env", "ws_counter_inc", 2)),
        "imports env.ws_counter_inc, which no host ever had; use stat.ws_submit_metrics"
    );
    let both =
        [5, 2].map(|n| HostFunction::resolve(&import("env", "ws_send_tx", n)).expect("known").params.len());
    assert_eq!(both, [5, 2]);
}
