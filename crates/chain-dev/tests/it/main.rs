//! The chain inside the process: the room's kit, and what only this one can do.

mod chain;
mod kit;
