//! Guests that mean harm, through the whole path in one process: the check at deployment, the vfs, a control transaction, a
//! block, the engine, the message's result.

mod clock;
mod generated;
mod refused;
mod stopped;
mod wasi;
mod world;
