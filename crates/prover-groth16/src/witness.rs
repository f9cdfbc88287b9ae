//! circom's witness programs.
//!
//! A program is a WebAssembly module that circom 2 made of a circuit. Signals go in by the FNV-1a hash of their names,
//! one number after the other through eight words of shared memory; when the last one is set, it calculates all signals.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ark_bn254::Fr;
use ark_ff::{One as _, PrimeField as _};
use w3bstream_prover::{Error, ErrorKind, FieldElement, Signals};
use wasmer::sys::{CompilerConfig as _, Cranelift, EngineBuilder, NativeEngineExt as _};
use wasmer::{
    ExportError, Function, Imports, Instance, Module, RuntimeError, Store, TypedFunction, WasmTypeList,
};
use wasmer_middlewares::Metering;
use wasmer_middlewares::metering::{MeteringPoints, get_remaining_points, set_remaining_points};

use crate::limits::Limited;
use crate::points::{field_element, fr, fr_from_le};

/// Words of 32 bits in a number.
const WORDS: i32 = 8;

/// What a witness program may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WitnessLimits {
    /// Bytes of the program itself.
    pub program_bytes: usize,
    /// Bytes of its memory.
    pub memory_bytes: u64,
    /// WebAssembly operators that it may run for one witness. A thousand million take some seconds.
    pub operators: u64,
    /// Signals of a witness.
    pub signals: usize,
}

impl Default for WitnessLimits {
    fn default() -> Self {
        Self { program_bytes: 64 << 20, memory_bytes: 1 << 30, operators: 20_000_000_000, signals: 1 << 24 }
    }
}

/// All signals of a circuit for one input. The first is 1, then come the public ones. `Debug` shows none.
pub struct Witness(Vec<Fr>);

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Witness({} signals)", self.0.len())
    }
}

impl Witness {
    pub(crate) fn values(&self) -> &[Fr] {
        &self.0
    }

    /// Whether it has these public numbers, as far as they go.
    #[must_use]
    pub fn has_public(&self, public: &[FieldElement]) -> bool {
        self.0.get(1..=public.len()).is_some_and(|own| own.iter().zip(public).all(|(own, x)| *own == fr(*x)))
    }

    /// Its first `count` public numbers, or as many as there are signals.
    #[must_use]
    pub fn public(&self, count: usize) -> Vec<FieldElement> {
        self.0.iter().skip(1).take(count).filter_map(|x| field_element(*x)).collect()
    }

    /// The bytes of snarkjs's `.wtns` file with this witness, to compare provers on one input.
    #[must_use]
    pub fn to_wtns(&self) -> Vec<u8> {
        use ark_ff::BigInteger as _;
        let modulus = Fr::MODULUS.to_bytes_le();
        let count = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let mut bytes = b"wtns".to_vec();
        for word in [2, 2, 1] {
            bytes.extend_from_slice(&u32::to_le_bytes(word));
        }
        bytes.extend_from_slice(&40u64.to_le_bytes());
        bytes.extend_from_slice(&32u32.to_le_bytes());
        bytes.extend_from_slice(&modulus);
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&2u32.to_le_bytes());
        bytes.extend_from_slice(&(u64::from(count) * 32).to_le_bytes());
        bytes.extend(self.0.iter().flat_map(|x| x.into_bigint().to_bytes_le()));
        bytes
    }
}

/// A compiled witness program.
pub struct Program {
    engine: wasmer::Engine,
    module: Module,
    limits: WitnessLimits,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").finish_non_exhaustive()
    }
}

/// The program called its exception handler.
#[derive(Debug)]
struct Exception(i32);

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            1 => "a signal is not one of the circuit's",
            2 | 3 => "a signal is set more often than the circuit has it",
            4 => "the input does not satisfy the circuit",
            5 => "the program has too little memory",
            6 => "an array has fewer elements than are used",
            _ => "the program gives up",
        })
    }
}

impl std::error::Error for Exception {}

fn bad(why: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Artefact, format!("the witness program {why}"))
}

impl Program {
    /// Compiles a program.
    ///
    /// # Errors
    /// [`ErrorKind::Artefact`] if it is none, is too long, or imports what circom's do not.
    pub fn compile(program: &[u8], limits: WitnessLimits) -> Result<Self, Error> {
        if program.len() > limits.program_bytes {
            return Err(bad(format!("has {} bytes; the most are {}", program.len(), limits.program_bytes)));
        }
        let mut compiler = Cranelift::default();
        compiler.push_middleware(Arc::new(Metering::new(limits.operators, |_| 1)));
        let mut engine: wasmer::Engine = EngineBuilder::new(compiler).engine().into();
        engine.set_tunables(Limited::new(limits.memory_bytes));
        let module = catch_unwind(AssertUnwindSafe(|| Module::from_binary(&engine, program)))
            .map_err(|_| bad("makes the compiler panic"))?
            .map_err(|e| bad("does not compile").with_source(e))?;
        if let Some(import) = module.imports().find(|i| i.module() != "runtime" || i.ty().func().is_none()) {
            return Err(bad(format!(
                "imports {}.{}, which programs of circom 2 do not",
                import.module(),
                import.name()
            )));
        }
        Ok(Self { engine, module, limits })
    }

    /// Calculates all signals.
    ///
    /// # Errors
    /// [`ErrorKind::Signals`] if the signals are not those of the circuit, do not satisfy it, or need more than the limits
    /// allow; [`ErrorKind::Artefact`] if the program does not work as circom's do. No value is in the error.
    pub fn run(&self, inputs: &Signals) -> Result<Witness, Error> {
        let mut running = Running::new(self)?;
        running.check()?;
        running.set(inputs)?;
        running.witness(self.limits.signals)
    }
}

/// An instance.
struct Running {
    store: Store,
    instance: Instance,
    read: TypedFunction<i32, i32>,
    write: TypedFunction<(i32, i32), ()>,
}

impl Running {
    fn new(program: &Program) -> Result<Self, Error> {
        let mut store = Store::new(program.engine.clone());
        let mut imports = Imports::new();
        for import in program.module.imports() {
            let Some(ty) = import.ty().func().filter(|ty| ty.results().is_empty()) else {
                return Err(bad(format!("imports {} with a result", import.name())));
            };
            let throws = import.name() == "exceptionHandler";
            // The others print messages, which may hold private numbers.
            let function = Function::new(&mut store, ty, move |args| {
                let code = args.first().and_then(wasmer::Value::i32).unwrap_or(0);
                if throws { Err(RuntimeError::user(Box::new(Exception(code)))) } else { Ok(Vec::new()) }
            });
            imports.define(import.module(), import.name(), function);
        }
        let instance = Instance::new(&mut store, &program.module, &imports)
            .map_err(|e| bad("cannot be started").with_source(e))?;
        set_remaining_points(&mut store, &instance, program.limits.operators);
        let read = function(&store, &instance, "readSharedRWMemory")?;
        let write = function(&store, &instance, "writeSharedRWMemory")?;
        Ok(Self { store, instance, read, write })
    }

    /// Calls a function of circom's interface.
    fn call<A: WasmTypeList, R: WasmTypeList>(
        &mut self,
        name: &str,
        call: impl FnOnce(&TypedFunction<A, R>, &mut Store) -> Result<R, RuntimeError>,
    ) -> Result<R, Error> {
        let function = function::<A, R>(&self.store, &self.instance, name)?;
        call(&function, &mut self.store).map_err(|e| self.stopped(e))
    }

    fn get(&mut self, name: &str) -> Result<i32, Error> {
        self.call::<(), i32>(name, |f, store| f.call(store))
    }

    /// Why the program stopped.
    fn stopped(&mut self, e: RuntimeError) -> Error {
        if let MeteringPoints::Exhausted = get_remaining_points(&mut self.store, &self.instance) {
            return Error::new(ErrorKind::Signals, "the witness takes more operators than a program may run");
        }
        match e.downcast::<Exception>() {
            Ok(exception) => Error::new(ErrorKind::Signals, exception.to_string()),
            // The cause is not kept: a trace names functions of the circuit, and nothing else is to be learnt from it.
            Err(_) => Error::new(ErrorKind::Signals, "the witness program trapped"),
        }
    }

    /// Checks version and field, and begins.
    fn check(&mut self) -> Result<(), Error> {
        let version = self.get("getVersion")?;
        if version != 2 {
            return Err(bad(format!("is of circom {version}; only circom 2 is known")));
        }
        if self.get("getFieldNumLen32")? != WORDS {
            return Err(bad("calculates with numbers of another length than BN254's"));
        }
        self.call::<(), ()>("getRawPrime", |f, store| f.call(store))?;
        if self.shared()? != modulus() {
            return Err(bad("calculates in another field than BN254's"));
        }
        self.call::<i32, ()>("init", |f, store| f.call(store, 0))
    }

    /// The number in the shared memory, little-endian.
    fn shared(&mut self) -> Result<[u8; 32], Error> {
        let mut bytes = [0; 32];
        for (i, word) in (0..WORDS).zip(bytes.as_chunks_mut::<4>().0) {
            let read = self.read.call(&mut self.store, i);
            *word = read.map_err(|e| self.stopped(e))?.to_le_bytes();
        }
        Ok(bytes)
    }

    fn set(&mut self, inputs: &Signals) -> Result<(), Error> {
        let wrong = |why: String| Err(Error::new(ErrorKind::Signals, why));
        let (mut total, needed) = (0usize, self.get("getInputSize")?);
        let mut order = Vec::with_capacity(inputs.len());
        for (name, values) in inputs {
            let (high, low) = hash(name);
            let size =
                self.call::<(i32, i32), i32>("getInputSignalSize", |f, store| f.call(store, high, low))?;
            match usize::try_from(size) {
                // The program says 0 for a name that it does not know.
                Err(_) | Ok(0) => return wrong(format!("the circuit has no signal {name:?}")),
                Ok(size) if size != values.len() => {
                    return wrong(format!("signal {name:?} has {size} numbers, not {}", values.len()));
                }
                Ok(size) => total = total.saturating_add(size),
            }
            order.push((high, low, values));
        }
        if usize::try_from(needed) != Ok(total) {
            return wrong(format!("the circuit takes {needed} numbers, and {total} are given"));
        }
        let set: TypedFunction<(i32, i32, i32), ()> =
            function(&self.store, &self.instance, "setInputSignal")?;
        for (high, low, values) in order {
            for (i, value) in (0i32..).zip(values) {
                let mut bytes = value.to_be_bytes();
                bytes.reverse();
                for (at, word) in (0..WORDS).zip(bytes.as_chunks::<4>().0) {
                    let write = self.write.call(&mut self.store, at, i32::from_le_bytes(*word));
                    write.map_err(|e| self.stopped(e))?;
                }
                set.call(&mut self.store, high, low, i).map_err(|e| self.stopped(e))?;
            }
        }
        Ok(())
    }

    fn witness(&mut self, most: usize) -> Result<Witness, Error> {
        let size = self.get("getWitnessSize")?;
        let fits = usize::try_from(size).ok().filter(|size| *size <= most);
        let size = fits.ok_or_else(|| bad(format!("has {size} signals; the most are {most}")))?;
        let get: TypedFunction<i32, ()> = function(&self.store, &self.instance, "getWitness")?;
        let mut values = Vec::with_capacity(size);
        for i in (0i32..).take(size) {
            get.call(&mut self.store, i).map_err(|e| self.stopped(e))?;
            let value = fr_from_le(&self.shared()?);
            values.push(value.ok_or_else(|| bad("gives a number beyond the field"))?);
        }
        if values.first().is_none_or(|one| !one.is_one()) {
            return Err(bad("gives a witness without the constant 1"));
        }
        Ok(Witness(values))
    }
}

fn function<A: WasmTypeList, R: WasmTypeList>(
    store: &Store,
    instance: &Instance,
    name: &str,
) -> Result<TypedFunction<A, R>, Error> {
    let missing =
        |e: ExportError| bad(format!("does not export {name} as programs of circom 2 do")).with_source(e);
    instance.exports.get_typed_function(store, name).map_err(missing)
}

/// BN254's r, little-endian.
fn modulus() -> [u8; 32] {
    let mut bytes = w3bstream_prover::MODULUS;
    bytes.reverse();
    bytes
}

/// The halves of a name's FNV-1a hash.
fn hash(name: &str) -> (i32, i32) {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let half = |n: u64| u32::try_from(n & 0xffff_ffff).unwrap_or(0).cast_signed();
    (half(hash >> 32), half(hash))
}
