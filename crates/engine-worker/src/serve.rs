//! The worker's side: an engine behind a connection.

use std::io::{Read, Write};
use std::sync::Arc;

use w3bstream_engine::tools::Cache;
use w3bstream_engine::{Engine, Error, ErrorKind, HostState, Module};
use w3bstream_types::{ContractAnswer, ContractCall, Encoder, SqlBudget, SqlOutcome, SqlStatement};

use crate::frame::{Fault, Frame, Kind, MAX_FRAME_BYTES, SMALL_BYTES, Wire};
use crate::values::{
    About, OwnedCall, Terms, Told, put_contract, put_error, put_get, put_outcome, put_ready, put_sql,
};

/// Serves the engine that `make` makes of the node's terms, until the other side has gone. One call at a time.
///
/// A program that is a worker calls [`crate::run`], which also closes what it was left by the node and ends with it.
///
/// # Errors
/// [`ErrorKind::Host`] if the other side says what it must not say, or goes in the middle of something; those of `make`.
pub fn serve(
    make: impl FnOnce(&Terms) -> Result<Arc<dyn Engine>, Error>,
    stream: impl Read + Write,
) -> Result<(), Error> {
    let mut wire = Wire::new(stream);
    let hello = match wire.receive(|kind| (kind == Kind::Hello).then_some(SMALL_BYTES)) {
        Ok(frame) => frame,
        Err(Fault::Closed) => return Ok(()),
        Err(fault) => return Err(lost(&fault)),
    };
    let made = hello.parse(Terms::read).map_err(|fault| lost(&fault));
    let made = made.and_then(|terms| Ok((make(&terms)?, Cache::new(terms.cache_entries))));
    let (engine, modules) = match made {
        Ok(made) => made,
        Err(e) => {
            // It is told, and this process says it as well.
            let _ = wire.put(Kind::Failed, |w| put_error(w, e.kind(), &e.to_string()));
            return Err(e);
        }
    };
    wire.put(Kind::Ready, |e| put_ready(e, engine.name())).map_err(|fault| lost(&fault))?;
    match (Server { wire, engine, modules }).work() {
        Err(Fault::Closed) | Ok(()) => Ok(()),
        Err(fault) => Err(lost(&fault)),
    }
}

fn lost(fault: &Fault) -> Error {
    Error::new(ErrorKind::Host, format!("the node that started this worker: {fault}"))
}

struct Server<S> {
    wire: Wire<S>,
    engine: Arc<dyn Engine>,
    modules: Cache<Arc<dyn Module>>,
}

impl<S: Read + Write> Server<S> {
    fn work(mut self) -> Result<(), Fault> {
        loop {
            let frame = self.wire.receive(|kind| {
                matches!(kind, Kind::Load | Kind::Program | Kind::Call).then_some(MAX_FRAME_BYTES)
            })?;
            match frame.kind {
                Kind::Load => {
                    let digest = frame.parse(|d| d.digest())?;
                    match self.modules.get(&digest) {
                        Some(module) => self.tell(&*module)?,
                        None => self.wire.send(Kind::Unknown, &[])?,
                    }
                }
                Kind::Program => match self.engine.load(&frame.body) {
                    Ok(module) => {
                        self.modules.put(module.program(), Arc::clone(&module));
                        self.tell(&*module)?;
                    }
                    Err(e) => self.fail(&e)?,
                },
                _ => self.call(&frame)?,
            }
        }
    }

    fn tell(&mut self, module: &dyn Module) -> Result<(), Fault> {
        let about = About {
            program: module.program(),
            instrumented: module.instrumented(),
            handlers: module.handlers(),
            uses: module.uses(),
        };
        self.wire.put(Kind::Loaded, |e| about.put(e))
    }

    fn fail(&mut self, error: &Error) -> Result<(), Fault> {
        self.wire.put(Kind::Failed, |e| put_error(e, error.kind(), &error.to_string()))
    }

    fn call(&mut self, frame: &Frame) -> Result<(), Fault> {
        let call = frame.parse(OwnedCall::read)?;
        let Some(module) = self.modules.get(&call.program) else {
            return self.wire.send(Kind::Unknown, &[]);
        };
        let mut state = Distant { wire: &mut self.wire, has_database: call.has_database, lost: None };
        let outcome = module.call(call.call(), &mut state);
        if let Some(fault) = state.lost {
            return Err(fault);
        }
        match outcome {
            Ok(outcome) => self.wire.put(Kind::Outcome, |e| put_outcome(e, &outcome)),
            Err(e) => self.fail(&e),
        }
    }
}

/// The state, which is the node's.
struct Distant<'a, S> {
    wire: &'a mut Wire<S>,
    has_database: bool,
    /// Why it cannot be asked any more.
    lost: Option<Fault>,
}

impl<S: Read + Write> Distant<'_, S> {
    fn ask<T>(
        &mut self,
        question: impl FnOnce(&mut Encoder),
        expected: impl FnOnce(Told) -> Option<T>,
    ) -> Result<T, Error> {
        if let Some(fault) = &self.lost {
            return Err(lost(fault));
        }
        let asked = || {
            self.wire.put(Kind::Ask, question)?;
            let answer = self.wire.receive(|kind| (kind == Kind::Answer).then_some(MAX_FRAME_BYTES))?;
            answer.parse(Told::read)
        };
        match asked() {
            Ok(Told::Failed(e)) => Err(e),
            Ok(told) => expected(told).ok_or_else(|| {
                let fault = Fault::Frame("an answer to another question".into());
                let error = lost(&fault);
                self.lost = Some(fault);
                error
            }),
            Err(fault) => {
                let error = lost(&fault);
                self.lost = Some(fault);
                Err(error)
            }
        }
    }
}

impl<S: Read + Write> HostState for Distant<'_, S> {
    fn has_database(&self) -> bool {
        self.has_database
    }

    fn kv_get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.ask(|e| put_get(e, key), |told| if let Told::Value(value) = told { Some(value) } else { None })
    }

    fn contract(&mut self, call: &ContractCall) -> Result<Option<ContractAnswer>, Error> {
        self.ask(
            |e| put_contract(e, call),
            |told| if let Told::Contract(answer) = told { Some(answer) } else { None },
        )
    }

    fn sql(&mut self, statement: &SqlStatement, budget: &SqlBudget) -> Result<SqlOutcome, Error> {
        self.ask(
            |e| put_sql(e, statement, budget),
            |told| if let Told::Sql(outcome) = told { Some(outcome) } else { None },
        )
    }
}
