//! What engines share beside the ABI: a cache of compiled programs, and places for calls that run at the same time.

mod cache;
mod places;

pub use cache::Cache;
pub use places::{Place, Places};
