//! MQTT messages to the outside.

use crate::{Error, host};

/// Asks the node to publish a message. It becomes an output of the block and is published after the block
/// was agreed on, at least once; subscribers tell repeats by the output's id.
///
/// # Errors
/// [`Error::HOST`] if the host refuses, as it does with a topic that is empty, has a wildcard, or has more than 1,024 bytes.
pub fn publish(topic: &str, payload: impl AsRef<[u8]>) -> Result<(), Error> {
    match host::send_mqtt(topic.as_bytes(), payload.as_ref()) {
        0 => Ok(()),
        code => Err(Error::host("ws_send_mqtt_msg", code)),
    }
}
