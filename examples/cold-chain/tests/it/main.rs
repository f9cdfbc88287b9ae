//! The applet over a year of real readings, natively and as the committed module.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod guest;
mod native;
mod readings;
mod settle;
