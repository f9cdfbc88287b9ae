//! Metrics that an applet reports about itself.

use crate::{Error, host};

/// Submits one JSON object, for example from [`crate::json::Writer`]. It becomes an output of the block.
///
/// # Errors
/// [`Error::HOST`] if the host refuses, as it does with anything but one JSON object.
pub fn submit(object: &str) -> Result<(), Error> {
    match host::submit_metrics(object.as_bytes()) {
        0 => Ok(()),
        code => Err(Error::host("ws_submit_metrics", code)),
    }
}
