//! `wasi run`: a WASI program without a node.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand as ClapSubcommand;
use tokio::runtime::Handle;
use w3bstream_engine_wasix::runner::{Ended, Run, run as run_program};

/// Exit code of a program that trapped, as a shell shows one that was ended by SIGABRT.
const TRAPPED: u8 = 134;

#[derive(Debug, ClapSubcommand)]
pub(crate) enum Command {
    /// Run a command of WASI preview 1 with real folders, clock and randomness; its exit code is this command's.
    ///
    /// In a project such a program gets none of these: see docs/wasi.md, and `applet run --handler _start`.
    Run {
        /// The WebAssembly module.
        file: PathBuf,
        /// A folder of this machine, and the name that it has for the program; may be given several times.
        #[arg(long = "dir", value_name = "HOST::GUEST", value_parser = folder)]
        dir: Vec<(PathBuf, String)>,
        /// A variable, NAME=VALUE; may be given several times. None of this process's are passed on.
        #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
        env: Vec<(String, String)>,
        /// The program's argument 0; the file's name if not given.
        #[arg(long, value_name = "NAME")]
        argv0: Option<String>,
        /// What the program gets as arguments, behind `--`.
        #[arg(last = true)]
        args: Vec<String>,
    },
}

fn folder(text: &str) -> Result<(PathBuf, String), String> {
    let (host, guest) = text.split_once("::").unwrap_or((text, text));
    if host.is_empty() || guest.is_empty() {
        return Err("must be HOST::GUEST, such as ./files::/data".into());
    }
    Ok((host.into(), guest.to_owned()))
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    if name.is_empty() { Err("must be NAME=VALUE".into()) } else { Ok((name.to_owned(), value.to_owned())) }
}

#[allow(clippy::print_stderr, reason = "what a program trapped on is told on standard error")]
pub(crate) fn run(command: &Command, runtime: &Handle) -> anyhow::Result<ExitCode> {
    let Command::Run { file, dir, env, argv0, args } = command;
    let program = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let file_name = || file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = argv0.clone().unwrap_or_else(file_name);
    let (args, env, dirs) = (args.clone(), env.clone(), dir.clone());
    let ended = run_program(&Run { program, name, args, env, dirs }, runtime)
        .with_context(|| file.display().to_string())?;
    Ok(match ended {
        // What an exit code of 32 bits is, as a process of this machine shows it.
        Ended::Exit(code) => ExitCode::from(code.to_le_bytes()[0]),
        Ended::Trap(why) => {
            eprintln!("error: the program trapped: {why}");
            ExitCode::from(TRAPPED)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_variables_are_read() {
        assert_eq!(folder("./a::/data"), Ok(("./a".into(), "/data".into())));
        assert_eq!(folder("/x"), Ok(("/x".into(), "/x".into())));
        assert!(folder("::/data").is_err() && folder("a::").is_err());
        assert_eq!(variable("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert!(variable("A").is_err() && variable("=a").is_err());
    }
}
