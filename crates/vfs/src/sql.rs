//! A project's database, as the calls of one block use it.

use std::fmt::Debug;

use w3bstream_types::{Database, SqlBlock, SqlBudget, SqlOutcome, SqlStatement};

use crate::Error;

/// A project's database for one block. Its methods block.
///
/// Everything is deterministic: the same contents, statements and budgets give the same answers, gas and changes on every
/// node. Dropped without [`Self::finish`], it leaves nothing behind.
pub trait SqlSession: Send + Debug {
    /// Takes another declaration over, or says in words why it cannot: then nothing was changed. `to` must follow `from`
    /// ([`Database::follows`]).
    ///
    /// # Errors
    /// [`Error`] if the database cannot be used; the block is then abandoned.
    fn declare(&mut self, from: Option<&Database>, to: &Database) -> Result<Result<(), String>, Error>;

    /// Begins a handler's call.
    ///
    /// # Errors
    /// As [`Self::declare`].
    fn begin_call(&mut self) -> Result<(), Error>;

    /// Runs a statement of the call. One that is refused changes nothing; after
    /// [`OutOfGas`](w3bstream_types::SqlRefusal::OutOfGas) and [`TooMuch`](w3bstream_types::SqlRefusal::TooMuch) the
    /// call cannot be kept.
    ///
    /// # Errors
    /// As [`Self::declare`].
    fn run(&mut self, statement: &SqlStatement, budget: &SqlBudget) -> Result<SqlOutcome, Error>;

    /// Ends the call: keeps what it did, or undoes it.
    ///
    /// # Errors
    /// As [`Self::declare`].
    fn end_call(&mut self, keep: bool) -> Result<(), Error>;

    /// Ends the block and gives what it did, which is in force once [`crate::Vfs::apply`] has stored it.
    ///
    /// # Errors
    /// As [`Self::declare`].
    fn finish(self: Box<Self>) -> Result<SqlBlock, Error>;
}
