//! The functions that a guest imports: counted, paid for, looked at, and only then handed to the WASI layer.

use std::panic::{AssertUnwindSafe, catch_unwind};

use w3bstream_engine::GuestError;
use w3bstream_engine::abi::price;
use wasmer::{
    AsStoreMut as _, Function, FunctionEnv, FunctionEnvMut, Global, Memory, RuntimeError, Store, Value,
};

use crate::book::{Shared, Stop};
use crate::own;
use crate::rules::{self, Check, MAX_BUFFERS, MAX_OPEN, MAX_PATH, Rule, errno};

/// What host functions need of the instance; known once there is one.
#[derive(Debug)]
pub(crate) struct Handles {
    pub(crate) book: Shared,
    pub(crate) memory: Option<Memory>,
    pub(crate) gas: Option<Global>,
    /// The layer's `path_filestat_get`.
    pub(crate) lookup: Option<Function>,
}

/// The guest is stopped; the book knows why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopped;

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("guest stopped")
    }
}

impl std::error::Error for Stopped {}

/// A host function's view of the guest that called it.
pub(crate) struct View<'a> {
    env: FunctionEnvMut<'a, Handles>,
    pub(crate) book: Shared,
}

impl View<'_> {
    /// Fills `into` from memory. `false` if that is not all inside.
    pub(crate) fn read(&mut self, at: u32, into: &mut [u8]) -> bool {
        let (handles, store) = self.env.data_and_store_mut();
        handles.memory.as_ref().is_some_and(|m| m.view(&store).read(u64::from(at), into).is_ok())
    }

    /// Writes to memory. `false` if that is not all inside.
    pub(crate) fn write(&mut self, at: u32, bytes: &[u8]) -> bool {
        let (handles, store) = self.env.data_and_store_mut();
        handles.memory.as_ref().is_some_and(|m| m.view(&store).write(u64::from(at), bytes).is_ok())
    }

    /// Bytes of its memory.
    pub(crate) fn memory_size(&mut self) -> u64 {
        let (handles, store) = self.env.data_and_store_mut();
        handles.memory.as_ref().map_or(0, |m| m.view(&store).data_size())
    }

    /// Takes gas.
    pub(crate) fn pay(&mut self, amount: u64) -> Result<(), Stopped> {
        let (handles, mut store) = self.env.data_and_store_mut();
        let Some(gas) = handles.gas.clone() else { return Ok(()) };
        let left = gas.get(&mut store).i64().unwrap_or(0);
        let left = left.saturating_sub(i64::try_from(amount).unwrap_or(i64::MAX));
        // It is a mutable i64 of this store: this cannot fail.
        let _ = gas.set(&mut store, Value::I64(left));
        if left < 0 { self.stop(Stop::Guest(GuestError::OutOfGas)) } else { Ok(()) }
    }

    /// Stops the guest.
    pub(crate) fn stop<T>(&self, stop: Stop) -> Result<T, Stopped> {
        self.book.lock().stop(stop);
        Err(Stopped)
    }

    /// Whether it goes on.
    fn goes_on(&self) -> Result<(), Stopped> {
        if self.book.lock().stop.is_some() { Err(Stopped) } else { Ok(()) }
    }
}

/// An argument as an unsigned number; a wrong type cannot occur, since imports are checked.
pub(crate) fn arg(args: &[Value], place: usize) -> u64 {
    match args.get(place) {
        Some(Value::I32(v)) => u64::from(v.cast_unsigned()),
        Some(Value::I64(v)) => v.cast_unsigned(),
        _ => 0,
    }
}

/// An argument of 32 bits.
pub(crate) fn arg32(args: &[Value], place: usize) -> u32 {
    u32::try_from(arg(args, place)).unwrap_or(u32::MAX)
}

/// Makes the function that the guest gets. `layer` is wasmer-wasix's.
pub(crate) fn link(
    store: &mut Store,
    env: &FunctionEnv<Handles>,
    (name, rule): (&str, Rule),
    layer: Function,
) -> Function {
    let aligned = rules::aligned(name);
    let ty = layer.ty(store);
    let gives = !ty.results().is_empty();
    Function::new_with_env(store, env, ty, move |env: FunctionEnvMut<'_, Handles>, args: &[Value]| {
        let book = env.data().book.clone();
        let mut view = View { env, book };
        let answer = run(&mut view, (rule, aligned), &layer, args)
            .map_err(|stopped| RuntimeError::user(Box::new(stopped)))?;
        Ok(if gives { vec![Value::I32(answer)] } else { vec![] })
    })
}

fn run(
    view: &mut View<'_>,
    (rule, aligned): (Rule, &[(usize, u32)]),
    layer: &Function,
    args: &[Value],
) -> Result<i32, Stopped> {
    view.book.lock().count_host_call();
    view.goes_on()?;
    view.pay(price::HOST_CALL)?;
    let answer = match rule {
        Rule::Refuse(errno) => errno,
        Rule::Own(own) => own::run(view, own, args)?,
        Rule::Layer(_) if aligned.iter().any(|(place, size)| !arg32(args, *place).is_multiple_of(*size)) => {
            errno::INVAL
        }
        Rule::Layer(check) => match before(view, check, args)? {
            errno::SUCCESS => {
                let answer = match hand_on(view, layer, args)? {
                    // The layer has numbers of its own behind preview 1's.
                    errno::LAYERS_MEMORY => errno::FAULT,
                    answer => answer,
                };
                if answer == errno::SUCCESS {
                    after(view, check, args);
                }
                answer
            }
            refused => refused,
        },
    };
    let cost = std::mem::take(&mut view.book.lock().cost);
    view.goes_on()?;
    view.pay(cost)?;
    Ok(answer)
}

/// Looks at arguments that would make the layer work without bounds, and takes gas for what it will do.
fn before(view: &mut View<'_>, check: Check, args: &[Value]) -> Result<i32, Stopped> {
    let long = |place: usize| arg32(args, place) > MAX_PATH;
    let answer = match check {
        Check::None | Check::Close => errno::SUCCESS,
        Check::Folder if long(2) => errno::NAMETOOLONG,
        Check::Folder => {
            view.pay(price::copy(2 * u64::from(MAX_PATH)))?;
            look(view, args)?;
            errno::SUCCESS
        }
        Check::Path(a) if long(a) => errno::NAMETOOLONG,
        Check::Paths(a, b) if long(a) || long(b) => errno::NAMETOOLONG,
        Check::Path(_) | Check::Paths(..) => {
            view.pay(price::copy(u64::from(MAX_PATH)))?;
            errno::SUCCESS
        }
        Check::Open if long(3) => errno::NAMETOOLONG,
        Check::Open if view.book.lock().open.len() >= MAX_OPEN => errno::MFILE,
        Check::Open => {
            view.pay(price::copy(u64::from(MAX_PATH)))?;
            errno::SUCCESS
        }
        Check::Renumber if !view.book.lock().open.contains(&arg32(args, 1)) => errno::BADF,
        Check::Renumber => errno::SUCCESS,
        // A cookie is a number of entries; the layer adds one to it.
        Check::Entries if arg(args, 3) > u64::from(u32::MAX) => errno::INVAL,
        Check::Entries => {
            view.pay(price::copy(u64::from(arg32(args, 2))))?;
            errno::SUCCESS
        }
        Check::Buffers => return buffers(view, args),
    };
    Ok(answer)
}

/// Has the layer look up the path whose address and length are at 1 and 2, so that it knows it. What it finds goes where the
/// guest's own bytes are put back afterwards: the layer writes to a guest's memory and to nothing else.
fn look(view: &mut View<'_>, args: &[Value]) -> Result<(), Stopped> {
    const RESULT: usize = 64;
    let Some(lookup) = view.env.data().lookup.clone() else { return Ok(()) };
    // Not where the path is, which has no more than MAX_PATH bytes.
    let place = if arg(args, 1) < RESULT as u64 { 2 * MAX_PATH } else { 0 };
    let mut kept = [0; RESULT];
    let (Some(fd), Some(path), Some(len)) = (args.first(), args.get(1), args.get(2)) else { return Ok(()) };
    if !view.read(place, &mut kept) {
        return Ok(());
    }
    let asked = [fd.clone(), Value::I32(0), path.clone(), len.clone(), Value::I32(place.cast_signed())];
    hand_on(view, &lookup, &asked)?;
    view.write(place, &kept);
    Ok(())
}

/// Takes gas for the bytes of all buffers.
fn buffers(view: &mut View<'_>, args: &[Value]) -> Result<i32, Stopped> {
    let (at, count) = (arg32(args, 1), arg32(args, 2));
    if count > MAX_BUFFERS {
        return Ok(errno::INVAL);
    }
    let mut list = vec![0; count as usize * 8];
    if !view.read(at, &mut list) {
        return Ok(errno::FAULT);
    }
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |v, b| v << 8 | u64::from(*b));
    let memory = view.memory_size();
    let mut total = 0;
    for entry in list.chunks_exact(8) {
        let (start, len) = entry.split_at(4);
        let (start, len) = (word(start), word(len));
        if start + len > memory {
            return Ok(errno::FAULT);
        }
        total += len;
    }
    view.pay(price::copy(total))?;
    Ok(errno::SUCCESS)
}

/// Keeps which descriptors are open.
fn after(view: &mut View<'_>, check: Check, args: &[Value]) {
    match check {
        Check::Open => {
            let mut fd = [0; 4];
            if view.read(arg32(args, 8), &mut fd) {
                view.book.lock().open.insert(u32::from_le_bytes(fd));
            }
        }
        Check::Close => {
            view.book.lock().open.remove(&arg32(args, 0));
        }
        _ => {}
    }
}

/// Calls the layer. A panic in it ends the call, and nothing else.
fn hand_on(view: &mut View<'_>, layer: &Function, args: &[Value]) -> Result<i32, Stopped> {
    let called = catch_unwind(AssertUnwindSafe(|| layer.call(&mut view.env.as_store_mut(), args)));
    match called {
        Ok(Ok(values)) => Ok(values.first().and_then(Value::i32).unwrap_or(errno::SUCCESS)),
        // It ends a guest for reasons of its own, such as a signal; there are none here.
        Ok(Err(_)) => view.stop(Stop::Guest(GuestError::Trap)),
        Err(_) => {
            view.book.lock().log(2, "the WASI layer failed; the call is given up".to_owned());
            view.stop(Stop::Guest(GuestError::Trap))
        }
    }
}
