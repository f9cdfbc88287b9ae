//! Automation: tidy, code generation, artefacts, crates on their own.
//!
//! ```text
//! cargo xtask tidy                 the rules of this repository that no compiler checks
//! cargo xtask codegen [--check]    Rust from proto/
//! cargo xtask artefacts --check    the committed modules and contracts belong to the committed sources
//! cargo xtask artefacts --build    builds the modules in Rust anew (others: scripts/build-contracts, scripts/build-applets)
//! cargo xtask standalone [CRATE…]  every room, and what an embedder takes alone, compiles alone
//! cargo xtask docs [FILE…]         the commands of the documentation that are marked `sh ci`
//! ```

mod applets;
mod artefacts;
mod codegen;
mod contracts;
mod docs;
mod standalone;
mod tidy;
mod workspace;

use std::process::ExitCode;

use crate::workspace::Workspace;

const USAGE: &str = "usage: cargo xtask tidy | codegen [--check] | artefacts --check|--build | standalone [CRATE…] | docs [FILE…]";

#[allow(clippy::print_stderr, reason = "a command line reports to people")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["tidy"] => Workspace::here().and_then(|w| tidy::run(&w)),
        ["codegen"] => codegen::run(false),
        ["codegen", "--check"] => codegen::run(true),
        ["artefacts", "--check"] => Workspace::here().and_then(|w| {
            artefacts::check(&w)?;
            applets::check(&w)?;
            contracts::check(&w)
        }),
        ["artefacts", "--build"] => Workspace::here().and_then(|w| {
            artefacts::build(&w)?;
            applets::build(&w)
        }),
        ["standalone", ref names @ ..] => Workspace::here().and_then(|w| standalone::run(&w, names)),
        ["docs", ref names @ ..] => Workspace::here().and_then(|w| docs::run(&w, names)),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}
