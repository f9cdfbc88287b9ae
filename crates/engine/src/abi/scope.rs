//! The context of the call that runs on this thread.
//!
//! Engines keep the data of their host functions for `'static`, but a call borrows: its payload, settings and the
//! project's state. Instead of copying all that for each event, or having each engine
//! erase lifetimes in its own way, this module does it once.

use std::cell::Cell;
use std::ptr::NonNull;

use super::{Context, Stop};
use crate::{Error, ErrorKind};

thread_local! {
    /// Set while [`enter`] runs, except while [`with`] has it in use.
    static CURRENT: Cell<Option<NonNull<Context<'static>>>> = const { Cell::new(None) };
}

/// Puts back what was there before, also when a panic passes.
struct Restore(Option<NonNull<Context<'static>>>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// Runs `run` with `context` as the current one of this thread.
pub(super) fn enter<R>(context: &mut Context<'_>, run: impl FnOnce() -> R) -> R {
    let erased = NonNull::from(context).cast::<Context<'static>>();
    let _restore = Restore(CURRENT.replace(Some(erased)));
    run()
}

/// Lends the current context.
pub(super) fn with<R>(f: impl FnOnce(&mut Context<'_>) -> R) -> Result<R, Stop> {
    let Some(mut context) = CURRENT.take() else {
        let what = "a host function was called outside of a call, or on another thread than the call's";
        return Err(Stop::Host(Error::new(ErrorKind::Host, what)));
    };
    let _restore = Restore(Some(context));
    #[allow(
        unsafe_code,
        reason = "the pointer is valid: `enter` holds the exclusive borrow that it was made from until it has \
                  removed the pointer again, and the pointer never leaves this thread. It is the only \
                  access: `take` leaves nothing for a second `with` before `f` is done. `f` takes any lifetime, so \
                  it cannot keep anything for the pretended one."
    )]
    // SAFETY: see the reason above.
    let context = unsafe { context.as_mut() };
    Ok(f(context))
}
