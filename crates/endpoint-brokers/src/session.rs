//! One connection after its CONNACK: packets in, answers in, packets out. It reads and writes buffers only, so it
//! neither waits nor fails for reasons of the network.

use std::collections::HashMap;
use std::num::NonZeroU16;
use std::sync::Arc;

use bytes::{Buf as _, BytesMut};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use w3bstream_endpoint::{Answer, Arrival};
use w3bstream_limits::Permit;
use w3bstream_types::{Malformed, Received, Refusal, RefusalKind, Submission};
use w3bstream_wire::{AckBody, Ingress, RefusalBody, device_topic, is_level, refusal_reason};

use crate::broker::{Broker, Outgoing};
use crate::config::Tell;
use crate::order::InOrder;
use crate::packet::{Code, Codec, Due, Fault, Frame, Incoming, Message, Publish, Told, frame, head};
use crate::shared::{Mailbox, Origin, Phase, Shared, offer};

/// The packet id of SUBSCRIBE. Publications have the others.
const SUBSCRIBE_ID: NonZeroU16 = NonZeroU16::MAX;
/// Beyond so many bytes that wait to be written, no more messages are taken from the queue.
const OUT_ENOUGH: usize = 64 << 10;

/// What is missing before more packets can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Bytes.
    Input,
    /// An answer to something of this connection.
    Answer,
    /// Room in the budget for a packet of so many bytes.
    Budget(usize),
}

/// Why a connection ends.
#[derive(Debug)]
pub(crate) enum End {
    /// The broker broke the protocol, refused something, or said that it ends the connection.
    Fault(Fault),
    /// A message was refused for now.
    Transient(String),
    /// The endpoint closes.
    Closing,
    /// The connection is gone.
    Gone(String),
}

/// A transient refusal: the connection ends at `at`.
#[derive(Debug)]
struct Doom {
    at: Instant,
    why: String,
}

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) broker: Arc<Broker>,
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    arrivals: mpsc::Sender<Arrival>,
    codec: Codec,
    line: InOrder<Due, Told>,
    /// QoS 0 messages without an answer.
    loose: usize,
    /// Bytes to come of a message that is too large.
    skip: usize,
    /// A part of the budget that was waited for.
    pub(crate) spare: Option<Permit>,
    doom: Option<Doom>,
    /// How many messages the broker takes without acknowledging.
    window: usize,
    next_id: u16,
    on_their_way: HashMap<u16, Option<oneshot::Sender<Result<(), String>>>>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.broker.in_flight.set(0);
    }
}

impl Session {
    pub(crate) fn new(
        broker: Arc<Broker>,
        shared: Arc<Shared>,
        (codec, window): (Codec, u16),
        arrivals: mpsc::Sender<Arrival>,
    ) -> Self {
        Self {
            mailbox: Arc::new(Mailbox::new(Arc::clone(&broker.wake))),
            window: usize::from(window.min(shared.config.max_outgoing_in_flight)),
            broker,
            shared,
            arrivals,
            codec,
            line: InOrder::default(),
            loose: 0,
            skip: 0,
            spare: None,
            doom: None,
            next_id: 0,
            on_their_way: HashMap::new(),
        }
    }

    /// The first packet after CONNACK.
    pub(crate) fn open(&self, out: &mut BytesMut) -> Result<(), End> {
        match self.codec.subscribe(out, SUBSCRIBE_ID, &self.broker.config) {
            true => Ok(()),
            false => Err(End::Fault("the broker takes no SUBSCRIBE with so many topics".to_owned())),
        }
    }

    /// When the connection must be ended, if a message was refused for now.
    pub(crate) fn doomed_at(&self) -> Option<Instant> {
        self.doom.as_ref().map(|doom| doom.at)
    }

    /// Takes all packets that are complete in `buf`, as far as there is room for what they bring.
    pub(crate) fn input(&mut self, buf: &mut BytesMut, out: &mut BytesMut) -> Result<Missing, End> {
        loop {
            let skipped = self.skip.min(buf.len());
            buf.advance(skipped);
            self.skip -= skipped;
            if self.skip > 0 {
                return Ok(Missing::Input);
            }
            let Some(at) = frame(buf).map_err(End::Fault)? else { return Ok(Missing::Input) };
            let publish = at.first >> 4 == 3;
            if publish && self.line.open() + self.loose >= usize::from(self.broker.config.max_in_flight) {
                return Ok(Missing::Answer);
            }
            if at.total > self.shared.config.max_packet_bytes {
                if !self.too_large(buf, at)? {
                    return Ok(Missing::Input);
                }
                self.emit(out, false);
                continue;
            }
            if buf.len() < at.total {
                return Ok(Missing::Input);
            }
            let mut permit = None;
            if publish {
                permit = self.spare.take().or_else(|| self.shared.budget.take(at.total));
                if permit.is_none() {
                    return Ok(Missing::Budget(at.total));
                }
                self.broker.counters.publishes.add(1);
                self.broker.counters.publish_bytes.add(at.total);
            }
            let packet = self.codec.decode(&buf.split_to(at.total)).map_err(End::Fault)?;
            self.packet(packet, permit, out)?;
            self.emit(out, false);
        }
    }

    /// Refuses a message that is too large for ever, without reading it. False if its header is not there yet.
    fn too_large(&mut self, buf: &[u8], at: Frame) -> Result<bool, End> {
        if at.first >> 4 != 3 {
            return Err(End::Fault(format!("the broker sent a packet of {} bytes", at.total)));
        }
        let Some((_, due)) = head(buf, at).map_err(End::Fault)? else { return Ok(false) };
        let limit = self.shared.config.max_packet_bytes;
        let why = format!("too-large: {} bytes are more than {limit} (max_packet_bytes)", at.total);
        tracing::warn!(broker = %self.broker.config.name, why, "message refused");
        self.broker.counters.publishes.add(1);
        self.broker.counters.refused(RefusalKind::TooLarge);
        self.refuse(due, Code::Other, why);
        self.skip = at.total;
        Ok(true)
    }

    fn refuse(&mut self, due: Due, code: Code, why: String) {
        if due != Due::Nothing {
            let place = self.line.push(due);
            self.line.set(place, Some(Told::Refused(code, why)));
        }
    }

    fn packet(&mut self, packet: Incoming, permit: Option<Permit>, out: &mut BytesMut) -> Result<(), End> {
        match packet {
            Incoming::Publish(publish) => {
                if let Some(permit) = permit {
                    self.publish(publish, permit);
                }
            }
            Incoming::Released(id) => Codec::complete(out, id),
            Incoming::Acked(id, refused) => {
                self.acked(id, refused);
                // There is room for the next one.
                self.deliver(out);
            }
            Incoming::SubAck(codes) => self.subscribed(&codes)?,
            Incoming::Pong => {}
            Incoming::Disconnect(why) if why.starts_with("SessionTakenOver") => {
                let advice = "another client has connected with this client_id; each node needs its own";
                return Err(End::Fault(advice.to_owned()));
            }
            Incoming::Disconnect(why) => {
                return Err(End::Fault(format!("the broker ended the connection: {why}")));
            }
            Incoming::ConnAck(_) => return Err(End::Fault("the broker sent a second CONNACK".to_owned())),
        }
        Ok(())
    }

    fn subscribed(&self, codes: &[Result<u8, String>]) -> Result<(), End> {
        let asked = self.broker.config.qos.level();
        for (filter, code) in self.broker.config.filters().zip(codes) {
            let wrong = match code {
                Ok(0) => "grants QoS 0 only, at which messages are lost".to_owned(),
                Ok(level) if *level < asked => {
                    tracing::warn!(broker = %self.broker.config.name, filter, level, "a lower QoS was granted");
                    continue;
                }
                Ok(_) => continue,
                Err(why) => format!("refuses it ({why}); give this user the right to it"),
            };
            return Err(End::Fault(format!("subscription to {filter}: the broker {wrong}")));
        }
        if codes.len() != self.broker.config.topics.len() {
            return Err(End::Fault("the broker sent a SUBACK that fits no subscription".to_owned()));
        }
        self.broker.online(self.shared.clock.now());
        Ok(())
    }

    fn publish(&mut self, publish: Publish, permit: Permit) {
        let counters = &self.broker.counters;
        counters.redelivered.add(publish.repeated.into());
        let ingress = match Ingress::parse(&publish.topic) {
            Ok(ingress) => ingress,
            Err(not) => {
                // Nobody is told: it may be a message of this node that has come back.
                counters.wrong_topics.add(1);
                return self.refuse(publish.due, Code::Topic, format!("topic: {}", not.why()));
            }
        };
        let place = (publish.due != Due::Nothing).then(|| self.line.push(publish.due));
        match read(&publish, &ingress) {
            Ok(submission) => {
                let received_at = self.shared.clock.now();
                let received = Received { project: ingress.project, submission, received_at };
                self.loose += usize::from(place.is_none());
                offer(&self.arrivals, (&self.mailbox, place), received, permit);
            }
            Err(malformed) => {
                let refusal = Refusal::new(RefusalKind::Malformed, malformed.to_string());
                let origin = Origin { project: ingress.project, sender: None, id: None };
                self.answer(place, &origin, Err(refusal));
            }
        }
    }

    /// Notes the answer to a message, and tells it to the device.
    fn answer(&mut self, place: Option<u64>, origin: &Origin, answer: Answer) {
        let counters = &self.broker.counters;
        let ack = match answer {
            Ok(accepted) => {
                counters.accepted.add(1);
                counters.duplicates.add(accepted.duplicate.into());
                if self.broker.config.tell == Tell::All {
                    self.tell(origin, "ack", &AckBody::from(&accepted));
                }
                Some(Told::Accepted)
            }
            Err(refusal) => {
                counters.refused(refusal.kind);
                if refusal.kind.is_permanent() {
                    if self.broker.config.tell != Tell::Nothing {
                        self.tell(origin, "refused", &RefusalBody::new(origin.id, &refusal));
                    }
                    Some(Told::Refused(Code::of(refusal.kind), refusal_reason(&refusal)))
                } else if place.is_none() {
                    return counters.lost_at_qos_0.add(1);
                } else {
                    let at = Instant::now() + self.shared.config.withhold;
                    self.doom.get_or_insert_with(|| Doom { at, why: refusal_reason(&refusal) });
                    None
                }
            }
        };
        if let Some(place) = place {
            self.line.set(place, ack);
        }
    }

    fn tell(&self, origin: &Origin, what: &str, body: &impl serde::Serialize) {
        let Some(sender) = origin.sender.as_deref().filter(|s| is_level(s)) else { return };
        let topic = device_topic(&origin.project, what, sender);
        let payload = serde_json::to_vec(body).unwrap_or_default().into();
        if !self.broker.queue(Outgoing { message: Message { topic, payload, key: None }, done: None }) {
            self.broker.counters.dropped.add(1);
        }
    }

    /// Takes in the answers that have come, and messages for the broker; writes what may leave.
    pub(crate) fn settle(&mut self, phase: Phase, out: &mut BytesMut) -> Result<(), End> {
        for completion in self.mailbox.take() {
            self.loose -= usize::from(completion.place.is_none());
            self.answer(completion.place, &completion.origin, completion.answer);
        }
        self.emit(out, false);
        self.deliver(out);
        self.broker.in_flight.set(self.line.open() + self.loose);
        if phase >= Phase::Closing {
            return Err(End::Closing);
        }
        match self.doom.take_if(|doom| doom.at <= Instant::now()) {
            Some(doom) => Err(End::Transient(doom.why)),
            None => Ok(()),
        }
    }

    fn emit(&mut self, out: &mut BytesMut, all: bool) {
        while let Some((of, told)) = self.line.pop(all) {
            self.broker.counters.acknowledged.add(1);
            self.codec.acknowledge(out, of, &told);
        }
    }

    fn deliver(&mut self, out: &mut BytesMut) {
        while out.len() < OUT_ENOUGH
            && self.on_their_way.len() < self.window
            && let Some(Outgoing { message, done }) = self.broker.unqueue()
        {
            let id = self.free_id();
            if self.codec.publish(out, id, &message) {
                self.broker.counters.sent.add(1);
                self.on_their_way.insert(id.get(), done);
            } else {
                self.broker.counters.dropped.add(1);
                if let Some(done) = done {
                    let _ = done.send(Err("the broker takes no message so large".to_owned()));
                }
            }
        }
    }

    /// A packet id that nothing has. There is one, as the window is smaller than all ids.
    fn free_id(&mut self) -> NonZeroU16 {
        loop {
            self.next_id = self.next_id % (SUBSCRIBE_ID.get() - 1) + 1;
            if let Some(id) = NonZeroU16::new(self.next_id)
                && !self.on_their_way.contains_key(&self.next_id)
            {
                return id;
            }
        }
    }

    fn acked(&mut self, id: u16, refused: Option<String>) {
        let Some(done) = self.on_their_way.remove(&id) else { return };
        match refused {
            None => self.broker.counters.sent_acknowledged.add(1),
            Some(_) => self.broker.counters.dropped.add(1),
        }
        if let Some(done) = done {
            let _ = done.send(refused.map_or(Ok(()), |why| Err(format!("the broker refuses it: {why}"))));
        }
    }

    /// The last packets: acknowledgements that are still owed, then the end.
    pub(crate) fn farewell(&mut self, end: &End, out: &mut BytesMut) {
        self.emit(out, true);
        if !matches!(end, End::Gone(_)) {
            Codec::disconnect(out);
        }
    }
}

/// Reads the message in a PUBLISH.
fn read(publish: &Publish, ingress: &Ingress) -> Result<Submission, Malformed> {
    let record = w3bstream_wire::decode_message(publish.content_type.as_deref(), &publish.payload)?;
    if *record.event_type() != ingress.event_type {
        let why = format!("says {}, the topic says {}", record.event_type(), ingress.event_type);
        return Err(Malformed::new("event type", why));
    }
    Ok(Submission::Signed(record))
}
