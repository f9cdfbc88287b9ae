//! What engines share beside the ABI: a cache of compiled programs, compiled programs themselves, and places for calls that
//! run at the same time.

mod cache;
mod compiled;
mod places;

pub use cache::Cache;
pub use compiled::{Compiled, Template};
pub use places::{Place, Places};
