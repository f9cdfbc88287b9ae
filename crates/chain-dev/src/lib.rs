//! An EVM chain inside the process.
