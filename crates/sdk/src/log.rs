//! The applet's log: for its authors, not part of what a subnet agrees on.
//!
//! ```
//! use w3bstream_sdk::log;
//! log::warn!("{} readings were late", 3);
//! ```

use alloc::string::String;
use core::fmt;

use crate::host;

/// How important a line is, in the host's numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Level {
    /// Something failed.
    Error = 2,
    /// Something is odd.
    Warn = 3,
    /// Something happened.
    Info = 4,
    /// For finding faults.
    Debug = 5,
    /// For finding faults, step by step.
    Trace = 6,
}

/// Logs one line. Lines beyond the project's limit are dropped by the host.
pub fn write(level: Level, line: &str) {
    host::log(level as i32, line.as_bytes());
}

/// Logs a formatted line.
#[doc(hidden)]
pub fn write_args(level: Level, args: fmt::Arguments<'_>) {
    match args.as_str() {
        Some(line) => write(level, line),
        None => {
            let mut line = String::new();
            // Writing to a String fails only if a Display implementation does; what came until then is logged.
            let _ = fmt::write(&mut line, args);
            write(level, &line);
        }
    }
}

/// Logs at [`Level::Error`]; arguments as for `format!`.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_error {
    ($($arg:tt)+) => { $crate::log::write_args($crate::log::Level::Error, ::core::format_args!($($arg)+)) };
}

/// Logs at [`Level::Warn`]; arguments as for `format!`.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn {
    ($($arg:tt)+) => { $crate::log::write_args($crate::log::Level::Warn, ::core::format_args!($($arg)+)) };
}

/// Logs at [`Level::Info`]; arguments as for `format!`.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_info {
    ($($arg:tt)+) => { $crate::log::write_args($crate::log::Level::Info, ::core::format_args!($($arg)+)) };
}

/// Logs at [`Level::Debug`]; arguments as for `format!`.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug {
    ($($arg:tt)+) => { $crate::log::write_args($crate::log::Level::Debug, ::core::format_args!($($arg)+)) };
}

pub use crate::{__log_debug as debug, __log_error as error, __log_info as info, __log_warn as warn};
