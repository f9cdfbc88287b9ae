//! The event that a handler gets.

use alloc::string::String;
use alloc::vec::Vec;

use crate::{Error, host, log};

/// One event: what a device, or another source, sent.
///
/// The payload is the sender's word; [`Event::source`] is the host's, which has checked the signature.
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

    /// The payload, without copying it.
    #[must_use]
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// The event as a message of MQTT: its type, which stands for the topic, and its payload.
    ///
    /// # Errors
    /// [`Error::HOST`] if the host refuses.
    pub fn message(&self) -> Result<(String, Vec<u8>), Error> {
        let (topic, payload) =
            host::get_mqtt(self.rid).map_err(|code| Error::host("ws_get_mqtt_msg", code))?;
        let topic = String::from_utf8(topic);
        Ok((topic.map_err(|_| Error::new(Error::HOST, "the event type is not utf-8"))?, payload))
    }

    /// Where the event comes from. Asked of the host only when called, as [`Event::event_type`] is.
    #[must_use]
    pub fn source(&self) -> Source {
        Source { rid: self.rid }
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

/// What the host knows of an event's source.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    rid: i32,
}

impl Source {
    fn item(self, item: i32) -> Result<Option<Vec<u8>>, Error> {
        match host::get_context(self.rid, item) {
            Ok(value) => Ok(Some(value)),
            Err(2) => Ok(None),
            Err(code) => Err(Error::host("ws_get_context", code)),
        }
    }

    fn array<const N: usize>(self, item: i32) -> Result<Option<[u8; N]>, Error> {
        let wrong = |_| Error::new(Error::HOST, "ws_get_context gave another length");
        self.item(item)?.map(|value| value.try_into().map_err(wrong)).transpose()
    }

    /// The project's id.
    ///
    /// # Errors
    /// [`Error::HOST`] if the host refuses or does not know it.
    pub fn project(self) -> Result<[u8; 32], Error> {
        self.array(1)?.ok_or_else(|| Error::new(Error::HOST, "the host does not name the project"))
    }

    /// The DID of the device that signed; `None` for an event that came with a token or of a trigger.
    ///
    /// # Errors
    /// [`Error::HOST`] if the host refuses.
    pub fn device(self) -> Result<Option<String>, Error> {
        let not_text = |_| Error::new(Error::HOST, "the device's DID is not utf-8");
        self.item(2)?.map(|did| String::from_utf8(did).map_err(not_text)).transpose()
    }

    /// SHA-256 of the DID's text: how statements name a device.
    ///
    /// # Errors
    /// [`Error::HOST`] if the host refuses.
    pub fn device_hash(self) -> Result<Option<[u8; 32]>, Error> {
        self.array(3)
    }

    /// The payload's salt: 128 bits that only the sender and the members know, so that what is mixed with it can
    /// be published and not be guessed. `None` for events that are no envelopes.
    ///
    /// # Errors
    /// [`Error::HOST`] if the host refuses.
    pub fn salt(self) -> Result<Option<[u8; 16]>, Error> {
        self.array(4)
    }

    /// How many events of handlers lead from the message to this event, itself included; 0 for a message itself. A handler that
    /// must only be reached by other handlers returns if it is 0: a device may send a message of the same type.
    ///
    /// # Errors
    /// [`Error::HOST`] if the host refuses.
    pub fn depth(self) -> Result<u64, Error> {
        Ok(self.array(6)?.map_or(0, u64::from_be_bytes))
    }

    /// The time that the sender gave, in milliseconds since the epoch; 0 if it gave none.
    ///
    /// # Errors
    /// [`Error::HOST`] if the host refuses.
    pub fn time(self) -> Result<u64, Error> {
        Ok(self.array(5)?.map_or(0, u64::from_be_bytes))
    }
}

/// What a handler can take: made of its event before the handler runs. Implement it for a type of your own, to have the
/// payload checked in one place; an error of it is the call's, with its code and its text in the log.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be made of an event",
    label = "a handler takes `Event`, `Vec<u8>`, `String`, or a type that implements `w3bstream_sdk::FromEvent`"
)]
pub trait FromEvent: Sized {
    /// Makes it of an event.
    ///
    /// # Errors
    /// What is wrong with the event.
    fn from_event(event: Event) -> Result<Self, Error>;
}

impl FromEvent for Event {
    fn from_event(event: Event) -> Result<Self, Error> {
        Ok(event)
    }
}

/// The payload.
impl FromEvent for Vec<u8> {
    fn from_event(event: Event) -> Result<Self, Error> {
        Ok(event.into_data())
    }
}

/// The payload as text, else [`Error::PAYLOAD`].
impl FromEvent for String {
    fn from_event(event: Event) -> Result<Self, Error> {
        Self::from_utf8(event.into_data()).map_err(|_| Error::new(Error::PAYLOAD, "the payload is not utf-8"))
    }
}

/// What a handler can give: nothing, or what [`events::answer`](crate::events::answer) answers who waits.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no answer",
    label = "a handler gives `()`, or answers with `String`, `&'static str` or `Vec<u8>`"
)]
pub trait Reply {
    /// Answers.
    ///
    /// # Errors
    /// [`Error::HOST`] if the call has answered already.
    fn reply(self) -> Result<(), Error>;
}

impl Reply for () {
    fn reply(self) -> Result<(), Error> {
        Ok(())
    }
}

macro_rules! replies {
    ($($answer:ty),+) => {
        $(impl Reply for $answer {
            fn reply(self) -> Result<(), Error> {
                crate::events::answer(self)
            }
        })+
    };
}

replies!(String, &'static str, Vec<u8>);

/// Runs a handler on the event `rid` and turns its result into the code that the host gets: 0, or the
/// error's code after its text was logged.
pub fn run<T: FromEvent, R: Reply, E: Into<Error>>(rid: i32, handler: impl FnOnce(T) -> Result<R, E>) -> i32 {
    let result =
        Event::read(rid).and_then(T::from_event).and_then(|event| handler(event).map_err(Into::into));
    match result.and_then(Reply::reply) {
        Ok(()) => 0,
        Err(e) => {
            log::write(log::Level::Error, e.message());
            e.code()
        }
    }
}
