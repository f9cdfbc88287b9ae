//! One connection after its CONNECT: packets in, answers in, packets out. It reads and writes buffers only, so
//! it neither waits nor fails for reasons of the network.

use std::collections::HashMap;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rmqtt_codec::v5::{DisconnectReasonCode, PublishAckReason, SubscribeAckReason};
use tokio::sync::mpsc;
use tokio::time::Instant;
use w3bstream_endpoint::Arrival;
use w3bstream_limits::Permit;

use crate::incoming::Incoming;
use crate::message::{Delivery, Options, Qos};
use crate::packet::{Codec, Fault, Version};
use crate::rights::Rights;
use crate::session::{ConnId, Session, Stage, Standing, Will, WrongAck};
use crate::shared::{Mailbox, Phase, Shared};
use crate::slots::Slots;
use crate::topic;

/// Topic aliases in each direction.
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
    /// QoS 1 and 2 messages that the device takes without acknowledging.
    pub(crate) window: u16,
    /// What the gate allows.
    pub(crate) rights: Arc<Rights>,
    /// When the gate's leave ends.
    pub(crate) ends_at: Option<Instant>,
    /// How many aliases the device takes, and those that stand for topics of messages to it.
    pub(crate) out_aliases: (u16, HashMap<String, NonZeroU16>),
    pub(crate) will: Option<Will>,
    pub(crate) state: State,
}

/// What changes while the connection lives.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) slots: Slots<Reply>,
    /// QoS 0 messages without an answer.
    pub(crate) loose: usize,
    pub(crate) aliases: Vec<Option<String>>,
    /// Events without an id of their own.
    pub(crate) events: u64,
    /// Something was published to other clients, whose sessions may have to keep it before the PUBACK leaves.
    pub(crate) relayed: bool,
    /// A part of the budget that was waited for.
    pub(crate) spare: Option<Permit>,
    pub(crate) doom: Option<Doom>,
}

/// A transient refusal: the connection ends at `at`.
#[derive(Debug)]
pub(crate) struct Doom {
    pub(crate) at: Instant,
    pub(crate) code: DisconnectReasonCode,
    pub(crate) why: String,
}

/// What a PUBACK or PUBREC says.
#[derive(Debug)]
pub(crate) enum Reply {
    Accepted,
    /// With a code, which is not always a refusal, and words for it.
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
    /// What the client showed when it connected holds no longer.
    Expired,
    /// What must be kept of its session cannot be written.
    Unkept,
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

    /// When something must be done although nothing comes.
    pub(crate) fn wakes_at(&self) -> Option<Instant> {
        self.doomed_at().into_iter().chain(self.ends_at).min()
    }

    /// Waits until what the next packets say is kept: the peer must not rely on what a restart would forget.
    pub(crate) async fn kept(&mut self) {
        if std::mem::take(&mut self.state.relayed) {
            self.shared.hub.flush().await;
        } else {
            self.session.kept().await;
        }
    }

    /// Whether it is, without waiting: most connections have noted nothing since they last wrote.
    pub(crate) fn is_kept(&mut self) -> bool {
        if self.state.relayed && self.shared.hub.is_flushed() {
            self.state.relayed = false;
        }
        !self.state.relayed && self.session.is_kept()
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
            Incoming::PubAck(id) => {
                self.session.acknowledged(id, Some(Qos::AtLeastOnce)).map_err(wrong_ack)?
            }
            Incoming::PubRec(id, false) => {
                self.session.acknowledged(id, Some(Qos::ExactlyOnce)).map_err(wrong_ack)?;
            }
            Incoming::PubRec(id, true) => match self.session.taken(id).map_err(wrong_ack)? {
                true => Codec::ack(out, 6, id),
                false => self.codec.ack_unknown(out, 6, id),
            },
            Incoming::PubComp(id) => self.session.completed(id).map_err(wrong_ack)?,
            Incoming::PubRel(id) if self.session.release(id) => Codec::ack(out, 7, id),
            Incoming::PubRel(id) => self.codec.ack_unknown(out, 7, id),
            Incoming::Subscribe { packet_id, filters } => {
                let status: Vec<_> = filters
                    .into_iter()
                    .map(|(filter, options)| self.subscribe(&filter, options))
                    .collect::<Result<_, _>>()
                    .map_err(End::Fault)?;
                self.codec.suback(out, packet_id, &status);
            }
            Incoming::Unsubscribe { packet_id, filters } => {
                let hub = &self.shared.hub;
                filters.iter().try_for_each(|f| check_filter(f)).map_err(End::Fault)?;
                let existed: Vec<_> = filters.iter().map(|f| hub.unsubscribe(&self.session, f)).collect();
                self.codec.unsuback(out, packet_id, &existed);
            }
            Incoming::Ping => Codec::pong(out),
            Incoming::Disconnect { with_will, expiry_secs } => {
                if let Some(secs) = expiry_secs {
                    let most = self.shared.config.max_session_expiry;
                    if !self.session.set_expiry(Duration::from_secs(secs.into()).min(most)) {
                        let why = "a session that was to end with its connection cannot be kept after all";
                        return Err(End::Fault(Fault::protocol(why)));
                    }
                }
                return Err(End::Asked { with_will });
            }
        }
        Ok(())
    }

    fn subscribe(&self, filter: &str, options: Options) -> Result<Result<Qos, SubscribeAckReason>, Fault> {
        check_filter(filter)?;
        let matched = match topic::shared(filter) {
            Some((_, "")) => return Ok(Err(SubscribeAckReason::TopicFilterInvalid)),
            Some(_) if options.no_local => {
                return Err(Fault::protocol("a shared subscription has no local messages to leave out"));
            }
            Some((_, matched)) => matched,
            None if topic::is_filter(filter) => filter,
            None => return Ok(Err(SubscribeAckReason::TopicFilterInvalid)),
        };
        if !self.rights.may_subscribe(&self.shared, matched) {
            self.shared.counters.not_allowed.add(1);
            return Ok(Err(SubscribeAckReason::NotAuthorized));
        }
        let (hub, now) = (&self.shared.hub, self.shared.now());
        Ok(match hub.subscribe((&self.session, self.conn), (filter, options), now) {
            true => Ok(options.qos),
            false => Err(SubscribeAckReason::QuotaExceeded),
        })
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
            Standing::Revoked => return Err(End::Expired),
            Standing::Mine => {}
        }
        if phase == Phase::Closing {
            return Err(End::Closing);
        }
        if self.ends_at.is_some_and(|at| at <= Instant::now()) {
            return Err(End::Expired);
        }
        match self.state.doom.take_if(|doom| doom.at <= Instant::now()) {
            Some(doom) => Err(End::Transient(doom.code, doom.why)),
            None => Ok(()),
        }
    }

    fn deliver(&mut self, out: &mut BytesMut) {
        while out.len() < OUT_ENOUGH
            && let Some((delivery, id)) = self.session.pop(self.conn, self.window, self.shared.now())
        {
            self.send(out, &delivery, id.map(|id| (id, false)));
        }
    }

    /// Sends again what an earlier connection of the session has not finished.
    pub(crate) fn resend(&mut self, out: &mut BytesMut) {
        for flight in self.session.unfinished() {
            match flight.stage {
                Stage::Published(delivery) => self.send(out, &delivery, Some((flight.id, true))),
                Stage::Released(_) => Codec::ack(out, 6, flight.id),
            }
        }
    }

    fn send(&mut self, out: &mut BytesMut, delivery: &Delivery, sent: Option<(NonZeroU16, bool)>) {
        let alias = self.alias(&delivery.message.topic);
        if self.codec.publish(out, delivery, sent, (self.shared.now(), alias)) {
            if let Some((alias, false)) = alias {
                self.out_aliases.1.insert(delivery.message.topic.clone(), alias);
            }
            return;
        }
        // The device does not take a packet so large: it never will.
        self.shared.counters.dropped.add(1);
        if let Some((id, _)) = sent {
            let _ = self.session.acknowledged(id, None);
        }
    }

    /// The alias of a topic, and whether the device knows it; the first topics get those that there are.
    fn alias(&self, topic: &str) -> Option<(NonZeroU16, bool)> {
        let (most, known) = &self.out_aliases;
        if let Some(alias) = known.get(topic) {
            return Some((*alias, true));
        }
        let next = u16::try_from(known.len() + 1).ok().filter(|next| next <= most)?;
        Some((NonZeroU16::new(next)?, false))
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
            End::Expired => (
                DisconnectReasonCode::NotAuthorized,
                "what was shown at CONNECT holds no longer; connect again",
            ),
            End::Unkept => (DisconnectReasonCode::ServerBusy, "the session cannot be kept now"),
            End::Closing => (DisconnectReasonCode::ServerShuttingDown, "the node is stopping"),
        };
        self.codec.disconnect(out, code, why);
    }

    /// Lets go of the session, counts the end, and gives the will if there is one to submit now.
    pub(crate) fn leave(&mut self, end: &End) -> Option<Will> {
        let counters = &self.shared.counters;
        match end {
            End::Fault(_) => counters.ended_protocol.add(1),
            End::Transient(..) | End::Unkept => counters.ended_transient.add(1),
            End::Overflow => counters.ended_overflow.add(1),
            End::Silent | End::Stalled | End::Expired => counters.ended_timeout.add(1),
            End::Asked { .. } | End::TakenOver | End::Closing | End::Gone => {}
        }
        let will = self.will.take().filter(|_| !matches!(end, End::Asked { with_will: false }));
        let restart = matches!(end, End::Closing);
        let due = self.shared.hub.detach((&self.session, self.conn), (will, restart), self.shared.now());
        self.shared.leave(self.conn);
        due
    }
}

/// What no topic filter may be (MQTT 5, sections 1.5.4 and 4.7.3); one that could be a filter is judged by itself.
fn check_filter(filter: &str) -> Result<(), Fault> {
    match filter.is_empty() || filter.contains('\0') {
        true => Err(Fault::malformed("a topic filter is empty or has U+0000 in it")),
        false => Ok(()),
    }
}

fn wrong_ack(_: WrongAck) -> End {
    End::Fault(Fault::protocol("an acknowledgement that does not go with the message of its packet id"))
}
