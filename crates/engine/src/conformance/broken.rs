//! Engines that are wrong in one way each. The kit must find out every one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use w3bstream_types::Digest;
use wasm_encoder::reencode::{Reencode, utils};
use wasmparser::Operator;

use crate::{Call, Engine, Error, HostState, Module, Outcome};

/// In what way an engine is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Says that a call used one unit of gas more than it did.
    GasOffByOne,
    /// Charges one unit too much for each `i32.mul` and for nothing else.
    OneCost,
    /// Computes `f64.add` and `f64.div` in single precision.
    RoundsFloats,
    /// Rounds the square root of a 64-bit float to single precision, and nothing else.
    OneRounding,
    /// Gives a call's last two outputs in the wrong order.
    OneOrder,
    /// Keeps something of a failed call's writes.
    LeaksFailedWrites,
    /// Shows a call what the call before has written, though nobody has stored it.
    RemembersWrites,
    /// Loses the logs of failed calls.
    DropsLogs,
    /// Lets a call draw other random numbers, or see other data, the second time: mixes up resource ids.
    ForgetsEvent,
}

impl Fault {
    /// All faults.
    pub const ALL: [Self; 9] = [
        Self::GasOffByOne,
        Self::OneCost,
        Self::RoundsFloats,
        Self::OneRounding,
        Self::OneOrder,
        Self::LeaksFailedWrites,
        Self::RemembersWrites,
        Self::DropsLogs,
        Self::ForgetsEvent,
    ];
}

/// A good engine with a fault.
#[derive(Debug)]
pub struct Broken {
    good: Arc<dyn Engine>,
    fault: Fault,
}

impl Broken {
    /// Breaks a good engine.
    #[must_use]
    pub fn new(good: Arc<dyn Engine>, fault: Fault) -> Self {
        Self { good, fault }
    }
}

impl Engine for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn load(&self, program: &[u8]) -> Result<Arc<dyn Module>, Error> {
        let mut good = self.good.load(program)?;
        let digests = (good.program(), good.instrumented());
        if matches!(self.fault, Fault::OneCost | Fault::RoundsFloats | Fault::OneRounding) {
            good = self.good.load(&rewritten(program, self.fault))?;
        }
        Ok(Arc::new(BrokenModule { good, digests, fault: self.fault, last: Mutex::default() }))
    }
}

#[derive(Debug)]
struct BrokenModule {
    good: Arc<dyn Module>,
    digests: (Digest, Digest),
    fault: Fault,
    last: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Module for BrokenModule {
    fn program(&self) -> Digest {
        self.digests.0
    }

    fn instrumented(&self) -> Digest {
        self.digests.1
    }

    fn handlers(&self) -> Vec<String> {
        self.good.handlers()
    }

    fn call(&self, mut call: Call<'_>, state: &mut dyn HostState) -> Result<Outcome, Error> {
        let lock = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if self.fault == Fault::ForgetsEvent {
            call.payload = b"";
        }
        let mut outcome = if self.fault == Fault::RemembersWrites {
            let last = lock().clone();
            self.good.call(call, &mut Remembered { last, state })?
        } else {
            self.good.call(call, state)?
        };
        match self.fault {
            Fault::GasOffByOne => outcome.gas += 1,
            Fault::LeaksFailedWrites if outcome.result.is_err() => {
                outcome.writes.insert(b"leaked".to_vec(), vec![]);
            }
            Fault::DropsLogs if outcome.result.is_err() => outcome.logs.clear(),
            Fault::OneOrder => {
                let before_last = outcome.outputs.len().saturating_sub(2);
                outcome.outputs.get_mut(before_last..).into_iter().for_each(<[_]>::reverse);
            }
            Fault::RemembersWrites => lock().clone_from(&outcome.writes),
            _ => {}
        }
        Ok(outcome)
    }
}

struct Remembered<'a> {
    last: BTreeMap<Vec<u8>, Vec<u8>>,
    state: &'a mut dyn HostState,
}

impl HostState for Remembered<'_> {
    fn kv_get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        match self.last.get(key) {
            Some(value) => Ok(Some(value.clone())),
            None => self.state.kv_get(key),
        }
    }
}

/// The program with what a fault puts behind some operations; the program itself if it cannot be rewritten.
fn rewritten(program: &[u8], fault: Fault) -> Vec<u8> {
    struct Behind(Fault);

    impl Reencode for Behind {
        type Error = std::convert::Infallible;

        fn parse_function_body(
            &mut self,
            code: &mut wasm_encoder::CodeSection,
            body: wasmparser::FunctionBody<'_>,
        ) -> Result<(), wasm_encoder::reencode::Error<Self::Error>> {
            let mut function = self.new_function_with_parsed_locals(&body)?;
            let mut reader = body.get_operators_reader()?;
            while !reader.eof() {
                let operator = reader.read()?;
                let rounds = match self.0 {
                    Fault::OneRounding => matches!(operator, Operator::F64Sqrt),
                    _ => matches!(operator, Operator::F64Add | Operator::F64Div),
                };
                let costs = self.0 == Fault::OneCost && matches!(operator, Operator::I32Mul);
                function.instruction(&self.instruction(operator)?);
                if costs {
                    function.instructions().nop();
                } else if rounds && self.0 != Fault::OneCost {
                    function.instructions().f32_demote_f64().f64_promote_f32();
                }
            }
            code.function(&function);
            Ok(())
        }
    }

    let mut module = wasm_encoder::Module::new();
    let parsed =
        utils::parse_core_module(&mut Behind(fault), &mut module, wasmparser::Parser::new(0), program);
    if parsed.is_ok() { module.finish() } else { program.to_vec() }
}
