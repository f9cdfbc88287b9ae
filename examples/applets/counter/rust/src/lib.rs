//! Counts events: all of them under the key `count`, those of a type under `count/<type>`.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use w3bstream_sdk::{Error, Event, handler, kv};

w3bstream_sdk::runtime!();

/// Handles any event.
///
/// # Errors
/// [`Error::HOST`] if the host refuses; [`Error::GENERAL`] if a key holds no number.
#[handler]
pub fn count(event: Event) -> Result<(), Error> {
    for key in ["count", &alloc::format!("count/{}", event.event_type()?)] {
        kv::set_i64(key, kv::get_i64(key)?.unwrap_or(0) + 1)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use w3bstream_sdk::mock::Host;

    #[test]
    fn types_are_counted_apart() {
        let mut host = Host::new();
        for event_type in ["door", "light", "door"] {
            assert_eq!(host.deliver(super::count, event_type, b"").code, 0);
        }
        let counts = ["count", "count/door", "count/light"].map(|key| host.kv_text(key).unwrap());
        assert_eq!(counts, ["3", "2", "1"]);
    }
}
