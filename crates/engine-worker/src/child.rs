//! What a process does that is a worker and nothing else.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

use w3bstream_engine::{Engine, Error, ErrorKind};

use crate::serve::serve;
use crate::values::Terms;

/// Exit code of a worker that could not go on.
const FAILED: u8 = 1;

/// Is a worker: serves the engine that `make` makes, on standard input, until that is closed, and ends then whatever it
/// does. Standard output and error are for people: the node writes what comes there to its log.
///
/// To be called first of all, on the main thread, before this process has opened anything: descriptors beyond the
/// first three are closed, and SIGINT, SIGTERM and SIGHUP, which a terminal or a service manager sends to a whole group,
/// are ignored, since a node that drains needs its workers.
#[must_use]
#[allow(clippy::print_stderr, reason = "standard error is how a worker tells people what went wrong")]
pub fn run(make: impl FnOnce(&Terms) -> Result<Arc<dyn Engine>, Error>) -> ExitCode {
    confine();
    let served = io::stdin().as_fd().try_clone_to_owned().and_then(|input| {
        end_with(input.try_clone()?)?;
        Ok(UnixStream::from(input))
    });
    let served = served.map_err(|e| failed("standard input", e)).and_then(|stream| {
        let make = |terms: &Terms| {
            cap_memory(terms.memory_bytes)?;
            make(terms)
        };
        serve(make, stream)
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("worker: {e}");
            ExitCode::from(FAILED)
        }
    }
}

fn failed(what: &str, e: io::Error) -> Error {
    Error::new(ErrorKind::Host, format!("worker: {what}")).with_source(e)
}

/// Lets go of all that the node may have left to this process.
fn confine() {
    #[allow(
        unsafe_code,
        reason = "this process has opened nothing yet, so nobody in it owns one of these descriptors; ignoring a \
                  signal runs no code"
    )]
    // SAFETY: see the reason.
    unsafe {
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::signal(signal, libc::SIG_IGN);
        }
        #[cfg(target_os = "linux")]
        // A kernel that does not know it leaves them as they are: the node's own are closed at its start of us anyway.
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0);
    }
}

/// Ends this process when nobody holds the other end any more, also in the middle of a call.
fn end_with(input: OwnedFd) -> io::Result<()> {
    let watch = move || {
        let mut watched = libc::pollfd { fd: input.as_raw_fd(), events: 0, revents: 0 };
        loop {
            #[allow(unsafe_code, reason = "one descriptor, of which `input` is the owner")]
            // SAFETY: see the reason.
            let found = unsafe { libc::poll(&raw mut watched, 1, -1) };
            if found > 0 {
                std::process::exit(0);
            }
            if found < 0 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                return;
            }
        }
    };
    std::thread::Builder::new().name("end-with-node".into()).spawn(watch).map(drop)
}

/// Caps what this process may have in memory. Addresses that are only reserved do not count, so pools of an engine fit.
fn cap_memory(bytes: u64) -> Result<(), Error> {
    if bytes == 0 {
        return Ok(());
    }
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    #[allow(
        unsafe_code,
        reason = "the calls write and read the value behind the pointer, which lives until they return"
    )]
    // SAFETY: see the reason.
    let set = unsafe {
        let mut set = libc::getrlimit(libc::RLIMIT_DATA, &raw mut limit);
        if set == 0 {
            // Whoever has started the node may have set a lower one, which cannot be raised.
            limit.rlim_max = limit.rlim_max.min(bytes);
            limit.rlim_cur = limit.rlim_max;
            set = libc::setrlimit(libc::RLIMIT_DATA, &raw const limit);
        }
        set
    };
    if set == 0 { Ok(()) } else { Err(failed("the cap on memory", io::Error::last_os_error())) }
}
