//! PUBLISH packets: who may send them, where they go, and what is answered.

use rmqtt_codec::v5::{DisconnectReasonCode, PublishAckReason};
use tokio::time::Instant;
use w3bstream_endpoint::{Answer, Principal, Vouched};
use w3bstream_limits::Permit;
use w3bstream_types::{Malformed, Received, Refusal, RefusalKind, Submission, Timestamp};
use w3bstream_wire::legacy::{Fill, MqttEvent, is_legacy_topic, read_mqtt};

use crate::answer::{Told, reason, told};
use crate::incoming::Publish;
use crate::message::{Message, Qos};
use crate::originals::OriginalEvent;
use crate::packet::{Codec, Fault, Version};
use crate::proto::{Doom, Proto, Reply, TOPIC_ALIASES};
use crate::shared::{Origin, offer};
use crate::slots::Verdict;
use crate::topic::{self, Ingress};

/// QoS 2 messages that a 3.1.1 device may leave unreleased; an MQTT 5 device is told a number.
const UNRELEASED_V4: usize = 4096;
/// The user property with the sender's own id of an event that carries no signature.
const EVENT_ID: &str = "w3b-event-id";
/// The user property with the sender's time of such an event, in milliseconds since the epoch.
const EVENT_TIME: &str = "w3b-time";

impl Proto {
    /// A PUBLISH that there is room for.
    pub(crate) fn publish(&mut self, mut publish: Publish, permit: Option<Permit>) -> Result<(), Fault> {
        let topic = self.topic(&mut publish)?;
        if let Some(id) = publish.packet_id.filter(|_| publish.qos == Qos::ExactlyOnce) {
            if self.session.has_accepted(id) {
                // It was accepted before, perhaps on an earlier connection: only the answer was lost.
                let slot = self.state.slots.push(id, publish.qos);
                self.state.slots.set(slot, Verdict::Ack(Reply::Accepted));
                return Ok(());
            }
            self.check_unreleased()?;
        }
        let slot = publish.packet_id.map(|id| self.state.slots.push(id, publish.qos));
        if self.shared.originals.get().is_some() && self.is_original(&topic) {
            // Its token is its leave.
            self.hand_over_original(&publish, &topic, (slot, permit));
            return Ok(());
        }
        if !self.rights.access.may_publish(&topic) {
            self.shared.counters.not_allowed.add(1);
            let why = format!("not-allowed: {} may not publish to {topic}", self.rights.access.principal);
            self.verdict(slot, Verdict::Ack(Reply::Refused(PublishAckReason::NotAuthorized, why)));
            return Ok(());
        }
        if self.shared.config.is_open(&topic) {
            self.relay(publish, topic, slot);
            return Ok(());
        }
        let ingress = match Ingress::parse(&topic) {
            Ok(ingress) => ingress,
            Err(no) => {
                self.shared.counters.wrong_topics.add(1);
                let code = match no {
                    topic::NoIngress::Reserved => PublishAckReason::NotAuthorized,
                    topic::NoIngress::Unknown => PublishAckReason::TopicNameInvalid,
                };
                self.verdict(slot, Verdict::Ack(Reply::Refused(code, no.why().to_owned())));
                return Ok(());
            }
        };
        self.hand_over(&publish, ingress, (slot, permit));
        Ok(())
    }

    fn check_unreleased(&self) -> Result<(), Fault> {
        let most = match self.codec.version() {
            Version::V4 => UNRELEASED_V4,
            Version::V5 => usize::from(self.shared.config.max_in_flight_per_connection),
        };
        if self.session.unreleased() < most {
            return Ok(());
        }
        let code = DisconnectReasonCode::ReceiveMaximumExceeded;
        Err(Fault::new(code, "too many QoS 2 messages were sent and not released"))
    }

    /// A message for the node.
    fn hand_over(
        &mut self,
        publish: &Publish,
        ingress: Ingress,
        (slot, permit): (Option<u64>, Option<Permit>),
    ) {
        let received = match self.read(publish, &ingress) {
            Ok(submission) => {
                Received { project: ingress.project, submission, received_at: self.shared.clock.now() }
            }
            Err(malformed) => {
                let refusal = Refusal::new(RefusalKind::Malformed, malformed.to_string());
                let sender = self.session.client().to_owned();
                let origin = Origin { project: ingress.project, sender, id: None, original: None };
                self.answer(slot, &origin, Err(refusal));
                return;
            }
        };
        let origin = self.origin(&received);
        if let Some(permit) = permit {
            self.state.loose += usize::from(slot.is_none());
            offer(&self.arrivals, (&self.mailbox, slot), (received, origin), permit);
        }
    }

    fn is_original(&self, topic: &str) -> bool {
        is_legacy_topic(topic) && !self.shared.config.is_open(topic)
    }

    /// An event of a client of the original.
    fn hand_over_original(
        &mut self,
        publish: &Publish,
        topic: &str,
        (slot, permit): (Option<u64>, Option<Permit>),
    ) {
        self.state.events += 1;
        let mut unique = [0; 16];
        // Unique is enough: who has the token may choose any id.
        unique[..8].copy_from_slice(&(self.shared.instance ^ self.conn << 48).to_be_bytes());
        unique[8..].copy_from_slice(&(self.conn << 32 | self.state.events).to_be_bytes());
        let received_at = self.shared.clock.now();
        let MqttEvent { channel, token, event } =
            match read_mqtt(topic, &publish.payload, &Fill { now: received_at, unique }) {
                Ok(read) => read,
                Err(malformed) => {
                    self.shared.counters.refused(RefusalKind::Malformed);
                    let why = format!("malformed: {malformed}");
                    let reply = Reply::Refused(PublishAckReason::PayloadFormatInvalid, why);
                    return self.verdict(slot, Verdict::Ack(reply));
                }
            };
        let (project, event_id, time) = (channel.project.clone(), event.event_id.clone(), event.time);
        let original = OriginalEvent { channel, token: token.clone(), event_id, time };
        let received = Received { project, submission: event.submission(token), received_at };
        let origin = Origin { original: Some(Box::new(original)), ..self.origin(&received) };
        if let Some(permit) = permit {
            self.state.loose += usize::from(slot.is_none());
            offer(&self.arrivals, (&self.mailbox, slot), (received, origin), permit);
        }
    }

    /// Who is told of a message. What carries no signature is told to whom the gate vouches for, on the topics that the
    /// gate allows it.
    fn origin(&self, received: &Received) -> Origin {
        let mut origin = Origin::of(received);
        if !matches!(received.submission, Submission::Signed(_)) {
            origin.sender = match &self.rights.access.principal {
                Principal::Device(did) => did.to_string(),
                Principal::Publisher(_, name) => name.to_string(),
                Principal::User(_) | Principal::Anyone => self.session.client().to_owned(),
            };
        }
        origin
    }

    /// Reads the message in a PUBLISH. On a connection whose client is vouched for, what is no signed message is an event
    /// without a signature.
    fn read(&mut self, publish: &Publish, ingress: &Ingress) -> Result<Submission, Malformed> {
        let read = w3bstream_wire::decode_message(publish.content_type(), &publish.payload);
        let vouched = self.rights.access.vouched.clone().filter(|_| {
            let signed = [w3bstream_wire::CONTENT_TYPE_ENVELOPE, w3bstream_wire::CONTENT_TYPE_JOSE];
            !publish.content_type().is_some_and(|t| signed.contains(&t))
        });
        let record = match (read, vouched) {
            (Ok(record), _) => record,
            (Err(_), Some(vouched)) => return self.vouched(publish, ingress, vouched),
            (Err(malformed), None) => return Err(malformed),
        };
        if *record.event_type() != ingress.event_type {
            let why = format!("says {}, the topic says {}", record.event_type(), ingress.event_type);
            return Err(Malformed::new("event type", why));
        }
        Ok(Submission::Signed(record))
    }

    fn vouched(
        &mut self,
        publish: &Publish,
        ingress: &Ingress,
        vouched: Vouched,
    ) -> Result<Submission, Malformed> {
        let time = match publish.user(EVENT_TIME).map(str::parse) {
            None => Timestamp::NONE,
            Some(Ok(millis)) => Timestamp(millis),
            Some(Err(_)) => return Err(Malformed::new(EVENT_TIME, "must be milliseconds since the epoch")),
        };
        let event_id = match publish.user(EVENT_ID) {
            Some(id) => id.to_owned(),
            // Without an id of its own a message that is sent again is another event.
            None => {
                self.state.events += 1;
                format!("mqtt-{:x}-{:x}-{:x}", self.shared.instance, self.conn, self.state.events)
            }
        };
        let (event_type, payload) = (ingress.event_type.clone(), publish.payload.to_vec());
        match vouched {
            Vouched::Token(token) => Ok(Submission::Token { token, event_id, event_type, time, payload }),
            Vouched::Session(token) => Ok(Submission::Session { token, event_id, event_type, time, payload }),
        }
    }

    /// A message for other clients.
    fn relay(&mut self, publish: Publish, topic: String, slot: Option<u64>) {
        let message = Message {
            topic,
            payload: publish.payload,
            properties: publish.properties,
            expires_at: publish.expiry_secs.map(|s| self.shared.now() + u64::from(s) * 1000),
            qos: publish.qos,
            retain: publish.retain,
            from: Some(self.session.id),
        };
        let reply = match self.shared.relay(message) {
            PublishAckReason::Success => Reply::Accepted,
            code => Reply::Refused(code, String::new()),
        };
        self.state.relayed = true;
        self.verdict(slot, Verdict::Ack(reply));
    }

    /// The topic of a PUBLISH, which an alias may stand for.
    fn topic(&mut self, publish: &mut Publish) -> Result<String, Fault> {
        let Some(alias) = publish.alias else { return Ok(std::mem::take(&mut publish.topic)) };
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

    pub(crate) fn verdict(&mut self, slot: Option<u64>, verdict: Verdict<Reply>) {
        if let Some(slot) = slot {
            self.state.slots.set(slot, verdict);
        }
    }

    /// Notes the answer to a message, and tells it to those who subscribe.
    pub(crate) fn answer(&mut self, slot: Option<u64>, origin: &Origin, answer: Answer) {
        // An MQTT 5 device gets the reason with its PUBACK or PUBREC.
        let silent = slot.is_none() || self.codec.version() == Version::V4;
        self.shared.tell(origin, &answer, silent);
        let refusal = match answer {
            Ok(_) => return self.verdict(slot, Verdict::Ack(Reply::Accepted)),
            Err(refusal) => refusal,
        };
        match (told(refusal.kind), slot) {
            (Told::PubAck(code), _) => {
                self.verdict(slot, Verdict::Ack(Reply::Refused(code, reason(&refusal))));
            }
            (Told::Disconnect(_), None) => self.shared.counters.lost_at_qos_0.add(1),
            (Told::Disconnect(code), Some(_)) => {
                self.verdict(slot, Verdict::Never);
                let at = Instant::now() + self.shared.config.withhold;
                self.state.doom.get_or_insert(Doom { at, code, why: reason(&refusal) });
            }
        }
    }

    /// Writes the PUBACKs and PUBRECs that may leave.
    pub(crate) fn emit(&mut self, out: &mut bytes::BytesMut) {
        while let Some((packet_id, qos, reply)) = self.state.slots.pop() {
            self.shared.counters.pubacks.add(1);
            let exact = qos == Qos::ExactlyOnce;
            let kind = if exact { 5 } else { 4 };
            // In 3.1.1 a device goes on to PUBREL after every PUBREC.
            let refused = matches!(&reply, Reply::Refused(code, _) if u8::from(*code) >= 0x80);
            if exact && (!refused || self.codec.version() == Version::V4) {
                self.session.accept(packet_id);
            }
            match reply {
                Reply::Accepted => Codec::ack(out, kind, packet_id),
                Reply::Refused(code, why) => self.codec.ack_refused(out, (kind, packet_id), (code, &why)),
            }
        }
    }
}
