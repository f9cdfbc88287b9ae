//! Applets on wasmer.
