//! The reference node: the stock registry of backends, and nothing else.
fn main() {}
