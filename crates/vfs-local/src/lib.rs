//! Programs and state on the local disk.
