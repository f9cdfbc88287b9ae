//! What this program is when it is started again. A worker is given no environment, so its role is an argument: the name of
//! a test. What the harness says goes to standard output, which is not the connection.

use std::io::Write as _;
use std::sync::Arc;

use w3bstream_engine::conformance::native::call;
use w3bstream_engine::{Call, Engine, Error, HostState, Module, Outcome};
use w3bstream_engine_wasix::{WasixConfig, WasixEngine};
use w3bstream_engine_wasmer::{WasmerConfig, WasmerEngine};
use w3bstream_types::Digest;

use crate::{ENDLESS, Nothing, load, no_end, role, started};

const ONE: WasmerConfig = WasmerConfig { cache_entries: 64, instances: 1 };

#[test]
#[ignore = "a worker, started by other tests"]
fn wasmer() {
    let _ = w3bstream_engine_worker::run(|_| Ok(Arc::new(WasmerEngine::new(&ONE))));
}

/// As a node has it.
pub(crate) fn with_wasi() -> Result<Arc<dyn Engine>, Error> {
    let applets = WasmerEngine::new(&ONE);
    let shared = applets.shared();
    Ok(Arc::new(WasixEngine::new(Arc::new(applets), shared, WasixConfig::default())?))
}

#[test]
#[ignore = "a worker, started by other tests"]
fn wasix() {
    let _ = w3bstream_engine_worker::run(|_| with_wasi());
}

/// wasmer, which dies in some handlers as compiled code could.
#[derive(Debug)]
struct Dies(WasmerEngine);

#[derive(Debug)]
struct Dying(Arc<dyn Module>);

impl Engine for Dies {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn load(&self, program: &[u8]) -> Result<Arc<dyn Module>, Error> {
        if program.ends_with(b"dies-of-me") {
            std::process::abort();
        }
        Ok(Arc::new(Dying(self.0.load(program)?)))
    }
}

impl Module for Dying {
    fn program(&self) -> Digest {
        self.0.program()
    }

    fn instrumented(&self) -> Digest {
        self.0.instrumented()
    }

    fn handlers(&self) -> Vec<String> {
        self.0.handlers()
    }

    fn call(&self, call: Call<'_>, state: &mut dyn HostState) -> Result<Outcome, Error> {
        match call.rid {
            13 => std::process::abort(),
            14 => std::process::exit(9),
            _ => self.0.call(call, state),
        }
    }
}

#[test]
#[ignore = "a worker, started by other tests"]
fn dies() {
    let _ = w3bstream_engine_worker::run(|_| Ok(Arc::new(Dies(WasmerEngine::new(&ONE)))));
}

#[test]
#[ignore = "a worker, started by other tests"]
fn cannot() {
    let _ = w3bstream_engine_worker::run(|_| {
        Err(Error::new(w3bstream_engine::ErrorKind::Host, "engine.kind is no engine"))
    });
}

/// A node that tells its worker's id, and then calls what never ends.
#[test]
#[ignore = "a node, started by another test"]
fn node() {
    let engine = started(role("wasmer"));
    let module = load(&engine, ENDLESS);
    for pid in engine.workers() {
        println!("\nworker {pid}");
    }
    std::io::stdout().flush().unwrap();
    let _ = call(&*module, 1, &no_end(), &mut Nothing);
}
