//! What a request is about.

use coap_lite::{Packet, ResponseType};
use tokio::time::Instant;
use w3bstream_types::{Received, RefusalKind, Submission};

use super::{Asked, Core, LINKS, Verdict, refusal, stopping};
use crate::answer::{Format, Reply};
use crate::codec::Block;
use crate::request::{self, Fault, Options, Route};
use crate::upload::{Key, Piece, Step};

impl Core {
    pub(super) fn judge(
        &mut self,
        now: Instant,
        asked: &mut Asked,
        packet: Option<&Packet>,
        datagram: usize,
    ) -> Verdict {
        let Some(packet) = packet else {
            // The answer says how large a block may be (RFC 7959 §2.9.3).
            asked.block1 = Some(Block { number: 0, more: false, exponent: 6 });
            self.counters.refused(RefusalKind::TooLarge);
            return Verdict::Reply(Reply::too_large(self.config.max_message_bytes));
        };
        let options = match request::read(packet) {
            Ok(options) => options,
            Err(Fault::Refused(reply)) => return Verdict::Reply(reply),
            Err(Fault::BadOption(number)) => {
                self.counters.bad_options.add(1);
                // RFC 7252 §5.4.1: Non-confirmable ones are passed over in silence.
                if !asked.head.confirmable {
                    return Verdict::Silence;
                }
                let why = format!("option {number} is not understood, or not in this form");
                return Verdict::Reply(Reply::diagnostic(ResponseType::BadOption, &why));
            }
        };
        asked.format = options.answer;
        asked.block1 = options.block1;
        asked.block2 = options.block2;
        asked.no_response = options.no_response;
        match &options.route {
            Route::Core => {
                let room = self.exchanges.room(asked.peer);
                Verdict::Reply(Reply::part(LINKS.as_bytes(), Format::Links, options.block2, room))
            }
            Route::Message(id) => Verdict::Ask(*id),
            Route::Event { .. } if self.stopped => self.refuse(asked, None, &stopping()),
            Route::Event { .. } => self.event(now, asked, &options, &packet.payload, datagram),
        }
    }

    /// A whole message, or a block of one.
    fn event(
        &mut self,
        now: Instant,
        asked: &Asked,
        options: &Options,
        payload: &[u8],
        datagram: usize,
    ) -> Verdict {
        let Route::Event { project, event_type } = &options.route else { return Verdict::Silence };
        let Some(block) = options.block1 else {
            if payload.len() > self.config.max_message_bytes {
                self.counters.refused(RefusalKind::TooLarge);
                return Verdict::Reply(Reply::too_large(self.config.max_message_bytes));
            }
            return self.message(asked, options, payload);
        };
        let key = Key {
            source: asked.peer.0,
            project: project.clone(),
            event_type: event_type.clone(),
            tag: options.request_tag.clone(),
        };
        let piece = Piece { block, payload, text: options.text, size1: options.size1, datagram };
        match self.uploads.take(now, key, piece, &self.config) {
            Step::Continue => {
                self.counters.blocks.add(1);
                Verdict::Reply(Reply::bare(ResponseType::Continue))
            }
            Step::Whole { bytes, received } => {
                self.counters.blocks.add(1);
                // Each block before was answered with less than itself.
                self.exchanges.add_room(asked.peer, 2 * received);
                self.message(asked, options, &bytes)
            }
            Step::Malformed => {
                let why = "a block is as long as it says; the last one may be shorter";
                self.refuse(asked, None, &refusal(RefusalKind::Malformed, why))
            }
            Step::Incomplete => {
                let why = "a block is missing; begin with the first";
                Verdict::Reply(Reply::diagnostic(ResponseType::RequestEntityIncomplete, why))
            }
            Step::TooLarge => {
                self.counters.refused(RefusalKind::TooLarge);
                Verdict::Reply(Reply::too_large(self.config.max_message_bytes))
            }
            Step::Full => {
                self.refuse(asked, None, &refusal(RefusalKind::Overloaded, "too many uploads at once"))
            }
        }
    }

    fn message(&mut self, asked: &Asked, options: &Options, bytes: &[u8]) -> Verdict {
        let Route::Event { project, event_type } = &options.route else { return Verdict::Silence };
        let read = if options.text {
            w3bstream_wire::decode_jws(bytes.trim_ascii_end())
        } else {
            w3bstream_wire::decode_message(None, bytes)
        };
        let malformed = |why: String| refusal(RefusalKind::Malformed, &why);
        match read {
            Err(error) => self.refuse(asked, None, &malformed(error.to_string())),
            Ok(record) if record.event_type() != event_type => {
                let why = format!("the message says {}, the path {event_type}", record.event_type());
                self.refuse(asked, Some(record.id()), &malformed(why))
            }
            Ok(record) => {
                let submission = Submission::Signed(record);
                let received =
                    Received { project: project.clone(), submission, received_at: self.clock.now() };
                Verdict::Submit(Box::new(received), bytes.len())
            }
        }
    }
}
