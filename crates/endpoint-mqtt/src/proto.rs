//! One connection after its CONNECT: packets in, answers in, packets out. It reads and writes buffers only, so
//! it neither waits nor fails for reasons of the network.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rmqtt_codec::v5::{DisconnectReasonCode, PublishAckReason, SubscribeAckReason};
use tokio::sync::mpsc;
use tokio::time::Instant;
use w3bstream_endpoint::{Answer, Arrival};
use w3bstream_types::{Malformed, Received, Refusal, RefusalKind, Submission};

use crate::answer::{Told, reason, told};
use crate::packet::{Codec, Fault, Incoming, Publish, Version};
use crate::router::Qos;
use crate::session::{ConnId, Session, Standing, Will};
use crate::shared::{Mailbox, Origin, Permit, Phase, Shared, offer};
use crate::slots::{Slots, Verdict};
use crate::topic::{self, Ingress};

/// Topic aliases that a device may use.
pub(crate) const TOPIC_ALIASES: u16 = 16;
/// Beyond so many bytes that wait to be written, no more messages are taken from the session's queue.
const OUT_ENOUGH: usize = 64 << 10;

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct Proto {
    pub(crate) shared: Arc<Shared>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) arrivals: mpsc::Sender<Arrival>,
    pub(crate) codec: Codec,
    pub(crate) session: Arc<Session>,
    pub(crate) conn: ConnId,
    /// QoS 1 messages that the device takes without acknowledging.
    pub(crate) window: u16,
    pub(crate) will: Option<Will>,
    pub(crate) state: State,
}

/// What changes while the connection lives.
#[derive(Debug, Default)]
pub(crate) struct State {
    slots: Slots<PubAck>,
    /// QoS 0 messages without an answer.
    loose: usize,
    aliases: Vec<Option<String>>,
    /// A part of the budget that was waited for.
    pub(crate) spare: Option<Permit>,
    doom: Option<Doom>,
}

/// A transient refusal: the connection ends at `at`.
#[derive(Debug)]
struct Doom {
    at: Instant,
    code: DisconnectReasonCode,
    why: String,
}

#[derive(Debug)]
enum PubAck {
    Accepted,
    Refused(PublishAckReason, String),
}

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
    /// The device said so.
    Asked { with_will: bool },
    /// The peer broke the protocol.
    Fault(Fault),
    /// A message was refused for now.
    Transient(DisconnectReasonCode, String),
    /// Another connection has the client id.
    TakenOver,
    /// The session's queue ran over.
    Overflow,
    /// The device was silent for longer than its keep alive.
    Silent,
    /// The peer left a packet unfinished, or its side unread, for too long.
    Stalled,
    /// The endpoint closes.
    Closing,
    /// The peer is gone, or the endpoint was dropped: there is nobody to tell.
    Gone,
}

impl Proto {
    /// When the connection must be ended, if a message was refused for now.
    pub(crate) fn doomed_at(&self) -> Option<Instant> {
        self.state.doom.as_ref().map(|doom| doom.at)
    }

    /// Takes all packets that are complete in `buf`, as far as there is room for what they bring.
    pub(crate) fn input(&mut self, buf: &mut BytesMut, out: &mut BytesMut) -> Result<Missing, End> {
        let missing = loop {
            let Some((len, first)) = self.codec.peek(buf).map_err(End::Fault)? else {
                break Missing::Input;
            };
            let mut permit = None;
            if first >> 4 == 3 {
                match self.room(len, first)? {
                    Ok(taken) => permit = Some(taken),
                    Err(missing) => break missing,
                }
                self.shared.counters.publishes.add(1);
                self.shared.counters.publish_bytes.add(len);
            }
            let packet = self.codec.decode(buf).map_err(End::Fault)?;
            self.packet(packet, permit, out)?;
        };
        self.emit(out);
        Ok(missing)
    }

    /// Room for a PUBLISH of `len` bytes.
    fn room(&mut self, len: usize, first: u8) -> Result<Result<Permit, Missing>, End> {
        let max = usize::from(self.shared.config.max_in_flight_per_connection);
        if self.codec.version() == Version::V5 && first & 0b0110 != 0 && self.state.slots.open() >= max {
            let code = DisconnectReasonCode::ReceiveMaximumExceeded;
            return Err(End::Fault(Fault::new(code, "more messages are in flight than Receive Maximum")));
        }
        if self.state.slots.open() + self.state.loose >= max {
            return Ok(Err(Missing::Answer));
        }
        let taken = self.state.spare.take().or_else(|| self.shared.budget.take(len));
        Ok(taken.ok_or(Missing::Budget(len)))
    }

    fn packet(&mut self, packet: Incoming, permit: Option<Permit>, out: &mut BytesMut) -> Result<(), End> {
        match packet {
            Incoming::Publish(publish) => self.publish(publish, permit).map_err(End::Fault)?,
            Incoming::PubAck(id) => self.session.acknowledged(id),
            Incoming::Subscribe { packet_id, filters } => {
                let status: Vec<_> = filters.into_iter().map(|(f, q)| self.subscribe(&f, q)).collect();
                self.codec.suback(out, packet_id, &status);
            }
            Incoming::Unsubscribe { packet_id, filters } => {
                let hub = &self.shared.hub;
                let existed: Vec<_> = filters.iter().map(|f| hub.unsubscribe(&self.session, f)).collect();
                self.codec.unsuback(out, packet_id, &existed);
            }
            Incoming::Ping => Codec::pong(out),
            Incoming::Disconnect { with_will, expiry_secs } => {
                if let Some(secs) = expiry_secs {
                    let most = self.shared.config.max_session_expiry;
                    self.session.set_expiry(Duration::from_secs(secs.into()).min(most));
                }
                return Err(End::Asked { with_will });
            }
        }
        Ok(())
    }

    fn subscribe(&self, filter: &str, qos: Qos) -> Result<Qos, SubscribeAckReason> {
        if filter.starts_with("$share/") {
            return Err(SubscribeAckReason::SharedSubscriptionNotSupported);
        }
        if !topic::is_filter(filter) {
            return Err(SubscribeAckReason::TopicFilterInvalid);
        }
        match self.shared.hub.subscribe((&self.session, self.conn), filter, qos) {
            true => Ok(qos),
            false => Err(SubscribeAckReason::QuotaExceeded),
        }
    }

    fn publish(&mut self, publish: Publish, permit: Option<Permit>) -> Result<(), Fault> {
        let topic = self.topic(&publish)?;
        let slot = publish.packet_id.map(|id| self.state.slots.push(id));
        let ingress = match Ingress::parse(&topic) {
            Ok(ingress) => ingress,
            Err(no) => {
                self.shared.counters.wrong_topics.add(1);
                let code = match no {
                    topic::NoIngress::Reserved => PublishAckReason::NotAuthorized,
                    topic::NoIngress::Unknown => PublishAckReason::TopicNameInvalid,
                };
                self.verdict(slot, Verdict::Ack(PubAck::Refused(code, no.why().to_owned())));
                return Ok(());
            }
        };
        let received = match read(&publish, &ingress) {
            Ok(submission) => {
                Received { project: ingress.project, submission, received_at: self.shared.clock.now() }
            }
            Err(malformed) => {
                let refusal = Refusal::new(RefusalKind::Malformed, malformed.to_string());
                let sender = self.session.client_id.to_string();
                let origin = Origin { project: ingress.project, sender, id: None };
                self.answer(slot, &origin, Err(refusal));
                return Ok(());
            }
        };
        if let Some(permit) = permit {
            self.state.loose += usize::from(slot.is_none());
            offer(&self.arrivals, (&self.mailbox, slot), received, permit);
        }
        Ok(())
    }

    /// The topic of a PUBLISH, which an alias may stand for.
    fn topic(&mut self, publish: &Publish) -> Result<String, Fault> {
        let Some(alias) = publish.alias else { return Ok(publish.topic.clone()) };
        let wrong = |why| Fault::new(DisconnectReasonCode::TopicAliasInvalid, why);
        if alias.get() > TOPIC_ALIASES {
            return Err(wrong("the topic alias is over Topic Alias Maximum"));
        }
        let place = usize::from(alias.get()) - 1;
        let aliases = &mut self.state.aliases;
        aliases.resize(aliases.len().max(place + 1), None);
        if !publish.topic.is_empty() {
            aliases[place] = Some(publish.topic.clone());
        }
        aliases[place].clone().ok_or_else(|| Fault::protocol("the topic alias stands for nothing yet"))
    }

    fn verdict(&mut self, slot: Option<u64>, verdict: Verdict<PubAck>) {
        if let Some(slot) = slot {
            self.state.slots.set(slot, verdict);
        }
    }

    /// Notes the answer to a message, and tells it to those who subscribe.
    fn answer(&mut self, slot: Option<u64>, origin: &Origin, answer: Answer) {
        // An MQTT 5 device gets the reason with its PUBACK.
        let silent = slot.is_none() || self.codec.version() == Version::V4;
        self.shared.tell(origin, &answer, silent);
        let refusal = match answer {
            Ok(_) => return self.verdict(slot, Verdict::Ack(PubAck::Accepted)),
            Err(refusal) => refusal,
        };
        match (told(refusal.kind), slot) {
            (Told::PubAck(code), _) => {
                self.verdict(slot, Verdict::Ack(PubAck::Refused(code, reason(&refusal))));
            }
            (Told::Disconnect(_), None) => self.shared.counters.lost_at_qos_0.add(1),
            (Told::Disconnect(code), Some(_)) => {
                self.verdict(slot, Verdict::Never);
                let at = Instant::now() + self.shared.config.withhold;
                self.state.doom.get_or_insert(Doom { at, code, why: reason(&refusal) });
            }
        }
    }

    /// Takes in the answers that have come, and messages for the device; writes what may leave.
    pub(crate) fn settle(&mut self, out: &mut BytesMut) -> Result<(), End> {
        let phase = self.shared.phase();
        if phase == Phase::Gone {
            return Err(End::Gone);
        }
        for completion in self.mailbox.take() {
            self.state.loose -= usize::from(completion.slot.is_none());
            self.answer(completion.slot, &completion.origin, completion.answer);
        }
        self.emit(out);
        self.deliver(out);
        match self.session.standing(self.conn) {
            Standing::TakenOver => return Err(End::TakenOver),
            Standing::Overflowed => return Err(End::Overflow),
            Standing::Mine => {}
        }
        if phase == Phase::Closing {
            return Err(End::Closing);
        }
        match self.state.doom.take_if(|doom| doom.at <= Instant::now()) {
            Some(doom) => Err(End::Transient(doom.code, doom.why)),
            None => Ok(()),
        }
    }

    fn emit(&mut self, out: &mut BytesMut) {
        while let Some((packet_id, kind)) = self.state.slots.pop() {
            self.shared.counters.pubacks.add(1);
            match kind {
                PubAck::Accepted => Codec::puback(out, packet_id),
                PubAck::Refused(code, why) => self.codec.puback_refused(out, packet_id, (code, &why)),
            }
        }
    }

    fn deliver(&mut self, out: &mut BytesMut) {
        while out.len() < OUT_ENOUGH
            && let Some((message, id)) = self.session.pop(self.conn, self.window)
        {
            if !self.codec.publish(out, &message, id.map(|id| (id, false))) {
                self.drop_outgoing(id);
            }
        }
    }

    /// Sends again what an earlier connection of the session has not acknowledged.
    pub(crate) fn resend(&mut self, out: &mut BytesMut) {
        for (id, message) in self.session.unacknowledged() {
            if !self.codec.publish(out, &message, Some((id, true))) {
                self.drop_outgoing(Some(id));
            }
        }
    }

    /// The device does not take a packet so large: it never will.
    fn drop_outgoing(&self, id: Option<NonZeroU16>) {
        self.shared.counters.dropped.add(1);
        if let Some(id) = id {
            self.session.acknowledged(id);
        }
    }

    /// The last packets: PUBACKs that are still owed, then the reason.
    pub(crate) fn farewell(&mut self, end: &End, out: &mut BytesMut) {
        self.state.slots.give_up();
        self.emit(out);
        let (code, why) = match end {
            End::Asked { .. } | End::Gone => return,
            End::Fault(fault) => (fault.code, fault.why),
            End::Transient(code, why) => (*code, why.as_str()),
            End::TakenOver => {
                (DisconnectReasonCode::SessionTakenOver, "another connection has this client id")
            }
            End::Overflow => (DisconnectReasonCode::QuotaExceeded, "too many messages wait for this session"),
            End::Silent => (DisconnectReasonCode::KeepAliveTimeout, "no packet within the keep alive"),
            End::Stalled => (DisconnectReasonCode::UnspecifiedError, "the connection made no progress"),
            End::Closing => (DisconnectReasonCode::ServerShuttingDown, "the node is stopping"),
        };
        self.codec.disconnect(out, code, why);
    }

    /// Lets go of the session, counts the end, and submits the will if there is one to submit.
    pub(crate) fn leave(&mut self, end: &End) {
        let counters = &self.shared.counters;
        match end {
            End::Fault(_) => counters.ended_protocol.add(1),
            End::Transient(..) => counters.ended_transient.add(1),
            End::Overflow => counters.ended_overflow.add(1),
            End::Silent | End::Stalled => counters.ended_timeout.add(1),
            End::Asked { .. } | End::TakenOver | End::Closing | End::Gone => {}
        }
        let will = self.will.take().filter(|_| !matches!(end, End::Asked { with_will: false }));
        if let Some(will) = self.shared.hub.detach(&self.session, self.conn, will) {
            self.shared.submit_will(will);
        }
        self.shared.leave(self.conn);
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
