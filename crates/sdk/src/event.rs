//! The event that a handler gets.

use alloc::string::String;
use alloc::vec::Vec;

use crate::{Error, host, log};

/// One event: what a device, or another source, sent.
///
/// Who sent it is not part of the event: the node has checked the signature, and the receipt names the
/// signer. A handler that needs a name for the sender takes it from the payload.
#[derive(Debug)]
pub struct Event {
    rid: i32,
    data: Vec<u8>,
}

impl Event {
    /// Reads the event with this resource id from the host. Handlers get their event as the argument.
    ///
    /// # Errors
    /// [`Error::HOST`] if the host knows no such event.
    pub fn read(rid: i32) -> Result<Self, Error> {
        let data = host::get_data(rid).map_err(|code| Error::host("ws_get_data", code))?;
        Ok(Self { rid, data })
    }

    /// The host's number for this event: positive, and the same on every node.
    #[must_use]
    pub fn rid(&self) -> i32 {
        self.rid
    }

    /// The payload, as it was sent.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The event type. Asked of the host only when called, so that a module which never does runs also on
    /// hosts without `ws_get_event_type`.
    ///
    /// # Errors
    /// [`Error::HOST`] if the host refuses.
    pub fn event_type(&self) -> Result<String, Error> {
        let bytes = host::get_event_type(self.rid).map_err(|code| Error::host("ws_get_event_type", code))?;
        String::from_utf8(bytes).map_err(|_| Error::new(Error::HOST, "the event type is not utf-8"))
    }
}

/// Runs a handler on the event `rid` and turns its result into the code that the host gets: 0, or the
/// error's code after its text was logged.
pub fn run(rid: i32, handler: impl FnOnce(Event) -> Result<(), Error>) -> i32 {
    match Event::read(rid).and_then(handler) {
        Ok(()) => 0,
        Err(e) => {
            log::write(log::Level::Error, e.message());
            e.code()
        }
    }
}
