//! A compiled applet.

use std::fmt::Debug;

use w3bstream_types::Digest;

use crate::abi::{self, Machine, Program};
use crate::{Call, Error, HostState, Module, Outcome};

/// What an engine makes instances of one program from.
pub trait Template: Send + Sync + Debug {
    /// A fresh instance.
    type Running<'a>: Machine
    where
        Self: 'a;

    /// Makes an instance. Blocks while there are as many as there may be.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Host`] if the system has no room for one.
    fn instance(&self) -> Result<Self::Running<'_>, Error>;
}

/// A program as an engine has compiled it: the [`Module`] of every engine that only makes instances.
#[derive(Debug)]
pub struct Compiled<T> {
    program: Program,
    template: T,
}

impl<T: Template> Compiled<T> {
    /// A program that `template` makes instances of. Its bytes are forgotten: they were compiled.
    pub fn new(mut program: Program, template: T) -> Self {
        program.forget_bytes();
        Self { program, template }
    }
}

impl<T: Template> Module for Compiled<T> {
    fn program(&self) -> Digest {
        self.program.program()
    }

    fn instrumented(&self) -> Digest {
        self.program.instrumented()
    }

    fn handlers(&self) -> Vec<String> {
        self.program.handlers().iter().cloned().collect()
    }

    fn call(&self, call: Call<'_>, state: &mut dyn HostState) -> Result<Outcome, Error> {
        abi::execute(&self.program, call, state, || self.template.instance())
    }
}
