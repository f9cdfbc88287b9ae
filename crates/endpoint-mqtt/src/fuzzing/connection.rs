//! A connection from its first byte to its end.

use std::sync::Arc;

use bytes::{Buf as _, BytesMut};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use w3bstream_endpoint::{Arrival, OpenGate};
use w3bstream_types::{Accepted, AckMode, ManualClock, MessageId, Refusal, RefusalKind, Timestamp};

use super::{MAX_PACKET, whole_packets};
use crate::MqttConfig;
use crate::connect::{First, first_packet};
use crate::open::{Opened, open};
use crate::proto::{End, Missing};
use crate::shared::Shared;
use crate::stream::{Peer, Transport};

thread_local! {
    /// Deadlines need a timer, which never rings here.
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime can be made");
}

fn config(open_topics: bool) -> MqttConfig {
    MqttConfig {
        max_packet_bytes: MAX_PACKET,
        max_in_flight_per_connection: 4,
        max_in_flight_total: 8,
        max_in_flight_bytes: 8192,
        max_subscriptions: 8,
        max_queued_messages: 8,
        max_queued_bytes: 8192,
        max_retained_messages: 4,
        max_retained_bytes: 4096,
        max_sessions: 4,
        open_topics: if open_topics { vec!["open/#".to_owned()] } else { Vec::new() },
        ..MqttConfig::default()
    }
}

/// The first packet, which may come in any pieces.
pub fn connect(bytes: &[u8]) {
    let config = config(true);
    let end = |len: usize| {
        let mut buf = BytesMut::from(&bytes[..len]);
        match first_packet(&mut buf, &config) {
            First::Partial => (0, len - buf.len()),
            First::Nonsense(_) => (1, 0),
            First::Refused(mut codec, refused) => {
                let mut out = BytesMut::new();
                codec.connack(&mut out, Err(refused));
                assert!(!out.is_empty());
                whole_packets(&mut out);
                (2, 0)
            }
            First::Connect(_, connect) => {
                assert!(connect.client_id.len() <= 256);
                (3, len - buf.len())
            }
        }
    };
    let whole = end(bytes.len());
    assert!(whole.0 != 0 || whole.1 == 0, "bytes of a packet that is not complete were taken");
    // Nothing is judged before it is there, and nothing is changed by what follows.
    let Some(first) = (0..=bytes.len().min(200)).find(|len| end(*len).0 != 0) else { return };
    if bytes.len() <= 200 || first < 200 {
        assert_eq!(end(first), whole, "what follows the first packet changes it");
    }
}

/// A CONNECT and what comes behind it, with answers of the node in between. The first byte says how it is cut, the second
/// what the node answers.
pub fn connection(bytes: &[u8]) {
    let [how, answers, rest @ ..] = bytes else { return };
    let config = config(how & 1 != 0);
    let step = usize::from(how >> 1) + 1;
    let clock = Arc::new(ManualClock::new(Timestamp(1_800_000_000_000)));
    let (shared, mut arrivals, _words) = Shared::new(config, clock, (Arc::new(OpenGate), None));
    let mut buf = BytesMut::from(rest);
    let First::Connect(codec, connect) = first_packet(&mut buf, &shared.config) else { return };
    let peer = Peer {
        address: ([127, 0, 0, 1], 9).into(),
        certificate_dids: Vec::new(),
        shown: None,
        transport: Transport::Tcp,
    };
    RUNTIME.with(|runtime| {
        let _inside = runtime.enter();
        let opened = runtime.block_on(open(&shared, (1, peer), (codec, *connect)));
        let mut out = BytesMut::new();
        match opened {
            Err((mut codec, refused)) => codec.connack(&mut out, Err(refused)),
            Ok(opened) => converse(*opened, (&mut buf, step), (&mut arrivals, *answers), &mut out),
        }
        whole_packets(&mut out);
    });
}

fn converse(
    opened: Opened,
    (buf, step): (&mut BytesMut, usize),
    (arrivals, mut answers): (&mut mpsc::Receiver<Arrival>, u8),
    out: &mut BytesMut,
) {
    let Opened { mut proto, granted, session_present, .. } = opened;
    assert!(!session_present, "nobody was here before");
    proto.codec.connack(out, Ok(granted));
    let mut came = BytesMut::new();
    let end = 'all: loop {
        let piece = buf.split_to(step.min(buf.len()));
        came.extend_from_slice(&piece);
        loop {
            let before = came.len();
            let missing = match proto.settle(out).and_then(|()| proto.input(&mut came, out)) {
                Ok(missing) => missing,
                Err(end) => break 'all end,
            };
            assert!(proto.state.slots.open() + proto.state.loose <= 4, "more is in flight than may be");
            whole_packets(out);
            let answered = tell(arrivals, &mut answers);
            if proto.doomed_at().is_some() {
                break 'all End::Silent;
            }
            match missing {
                Missing::Input => break,
                Missing::Answer | Missing::Budget(_) if !answered && came.len() == before => {
                    break 'all End::Stalled;
                }
                Missing::Answer | Missing::Budget(_) => {}
            }
        }
        assert!(came.len() <= MAX_PACKET, "more is kept of a packet than it may have");
        if buf.is_empty() {
            break End::Gone;
        }
    };
    while tell(arrivals, &mut answers) {}
    let _ = proto.settle(out);
    proto.leave(&end);
    proto.farewell(&end, out);
    came.advance(came.len());
}

/// Answers what was handed to the node; false if there was nothing.
fn tell(arrivals: &mut mpsc::Receiver<Arrival>, answers: &mut u8) -> bool {
    let mut any = false;
    while let Ok(arrival) = arrivals.try_recv() {
        any = true;
        *answers = answers.rotate_left(3) ^ 0x1d;
        match RefusalKind::ALL.get(usize::from(*answers)) {
            // One in eight is not answered but dropped.
            _ if answers.is_multiple_of(8) => drop(arrival),
            Some(kind) => arrival.ack.refuse(Refusal::new(*kind, "no")),
            None => {
                let id = MessageId::of_signing_input(&[*answers]);
                arrival.ack.accept(Accepted {
                    id,
                    duplicate: false,
                    mode: AckMode::Durable,
                    results: Vec::new(),
                });
            }
        }
    }
    any
}
