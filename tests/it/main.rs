//! One binary with all tests across crates and processes.

mod cli;
mod crash;
mod support;
