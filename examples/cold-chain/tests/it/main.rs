//! The applet over a year of real readings, natively and as the committed module.

#![allow(clippy::unwrap_used, reason = "a failure ends the test")]

mod guest;
mod native;
mod readings;
mod settle;
