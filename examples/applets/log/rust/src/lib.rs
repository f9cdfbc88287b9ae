//! Logs every event: its type and its payload. The smallest applet.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::string::String;

use w3bstream_sdk::{Error, Event, handler, log};

w3bstream_sdk::runtime!();

/// Handles any event.
///
/// # Errors
/// [`Error::HOST`] if the host does not know the event's type.
#[handler]
pub fn received(event: Event) -> Result<(), Error> {
    log::info!("{}: {}", event.event_type()?, String::from_utf8_lossy(event.data()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use w3bstream_sdk::mock::Host;

    #[test]
    fn an_event_is_a_line() {
        let outcome = Host::new().deliver(super::received, "greeting", b"hello");
        assert_eq!((outcome.code, outcome.logs[0].text.as_str()), (0, "greeting: hello"));
    }
}
