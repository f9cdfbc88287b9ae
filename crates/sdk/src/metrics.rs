//! Metrics that an applet reports about itself.

use crate::json::Writer;
use crate::{Error, host};

/// Submits one number. The node shows the last of each name as `w3b_guest_metric`.
///
/// # Errors
/// As [`submit`].
pub fn gauge(name: &str, value: i64) -> Result<(), Error> {
    submit(&Writer::new().i64(name, value).finish())
}

/// Submits one JSON object, for example from [`crate::json::Writer`]. It becomes an output of the block, and its numbers
/// metrics of the node.
///
/// # Errors
/// [`Error::HOST`] if the host refuses, as it does with anything but one JSON object.
pub fn submit(object: &str) -> Result<(), Error> {
    match host::submit_metrics(object.as_bytes()) {
        0 => Ok(()),
        code => Err(Error::host("ws_submit_metrics", code)),
    }
}
