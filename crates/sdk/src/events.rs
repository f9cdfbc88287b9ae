//! Events to handlers of the same project, and answers to who waits for the message.

use alloc::format;

use crate::{Error, host};

/// Asked for an event that would follow from too many others.
const TOO_DEEP: i32 = 11;
/// Asked for more events, or bytes of them, than one message may cause.
const TOO_MANY: i32 = 12;

/// Sends an event to the handlers that the manifest routes this type to, of this applet and of others, in the message's own
/// block. It is sent only if the call does not fail.
///
/// # Errors
/// [`Error::DEPTH`] and [`Error::EVENTS`] at the applet's limits; [`Error::HOST`] if the host refuses, as it does with a type
/// that is not `[a-z0-9-]{1,63}`.
pub fn send(event_type: &str, payload: impl AsRef<[u8]>) -> Result<(), Error> {
    match host::send_event(event_type.as_bytes(), payload.as_ref()) {
        0 => Ok(()),
        TOO_DEEP => Err(Error::new(
            Error::DEPTH,
            format!("{event_type} was not sent: too many events follow from each other"),
        )),
        TOO_MANY => Err(Error::new(
            Error::EVENTS,
            format!("{event_type} was not sent: the message has caused too many events"),
        )),
        code => Err(Error::host("ws_send_event", code)),
    }
}

/// Answers who waits for the message's results, once per call. A handler can also return its answer.
///
/// # Errors
/// [`Error::HOST`] if the call has answered already.
pub fn answer(bytes: impl AsRef<[u8]>) -> Result<(), Error> {
    match host::send_answer(bytes.as_ref()) {
        0 => Ok(()),
        code => Err(Error::host("ws_send_answer", code)),
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use crate::mock::{Host, MAX_EVENTS};
    use crate::{Error, Event, handler};

    #[handler]
    fn ring(event: Event) -> Result<String, Error> {
        if event.source().depth()? == 0 {
            return Err(Error::new(9, "not for devices"));
        }
        super::send("rang", event.data())?;
        Ok(alloc::format!("after {}", event.source().depth()?))
    }

    #[test]
    fn an_event_is_sent_and_the_message_answered() {
        let mut host = Host::new();
        assert_eq!(host.call(ring, "ring", b"x").code, 9, "a device's message leads here by itself");
        host.set_depth(3);
        let outcome = host.call(ring, "ring", b"x");
        assert_eq!((outcome.code, outcome.answer.as_deref()), (0, Some(&b"after 3"[..])));
        assert_eq!(
            (outcome.events[0].event_type.as_str(), &outcome.events[0].payload[..]),
            ("rang", &b"x"[..])
        );
    }

    #[test]
    fn limits_are_errors_of_their_own_and_a_second_answer_is_one() {
        let mut host = Host::new();
        host.set_depth(8);
        let outcome = host.call(ring, "ring", b"x");
        assert_eq!((outcome.code, outcome.events.len()), (Error::DEPTH, 0));
        assert!(outcome.logs[0].text.contains("follow from each other"), "{outcome:?}");
        host.set_depth(0);
        let all = |_: Event| {
            for _ in 0..MAX_EVENTS {
                super::send("e", "")?;
            }
            assert_eq!(super::send("Not a type", "").map_err(|e| e.code()), Err(Error::HOST));
            super::answer("one")?;
            assert_eq!(super::answer("two").map_err(|e| e.code()), Err(Error::HOST));
            super::send("e", "")
        };
        let outcome = host.deliver(all, "e", b"");
        assert_eq!((outcome.code, outcome.events.len()), (Error::EVENTS, MAX_EVENTS));
        assert_eq!(outcome.answer.as_deref(), Some(&b"one"[..]));
    }

    #[test]
    fn a_payload_that_is_no_text_does_not_reach_a_handler_of_text() {
        let mut host = Host::new();
        let echo = |text: String| -> Result<String, Error> { Ok(text) };
        assert_eq!(host.call(echo, "e", "ü".as_bytes()).answer.as_deref(), Some("ü".as_bytes()));
        let outcome = host.call(echo, "e", &[0xff]);
        assert_eq!((outcome.code, outcome.answer), (Error::PAYLOAD, None));
    }
}
