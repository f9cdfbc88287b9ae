//! Guest SDK for Rust applets.
