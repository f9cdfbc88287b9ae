//! The applet over a year of real readings, natively and as the committed module.

mod guest;
mod native;
mod readings;
