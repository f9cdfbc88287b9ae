//! For `w3bstream-fuzzing` alone: datagrams, one by one and as an exchange, from bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a broken promise must end the run; nothing but tests asks for this feature"
)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use coap_lite::MessageType;
use tokio::time::Instant;
use w3bstream_types::{Accepted, AckMode, ManualClock, MessageId, Refusal, RefusalKind, Timestamp};

use crate::CoapConfig;
use crate::codec::{Block, Datagram, read, write};
use crate::core::{Core, Effect};

/// A datagram: a request has one form, and its options are read or answered with a fault.
pub fn message(bytes: &[u8]) {
    let _ = read(bytes, false);
    if let Some(block) = Block::read(bytes) {
        let again = block.to_bytes();
        assert!(again.len() <= bytes.len() && Block::read(&again) == Some(block));
        assert!(block.start().is_multiple_of(block.size()));
    }
    let Datagram::Request(head, packet) = read(bytes, true) else { return };
    let kind = if head.confirmable { MessageType::Confirmable } else { MessageType::NonConfirmable };
    let again = write(packet.as_ref().clone(), kind, head.id, &head.token);
    assert_eq!(again, bytes, "a request has two forms");
    if let Ok(options) = crate::request::read(&packet) {
        assert!(options.request_tag.len() <= 8);
    }
}

fn config() -> CoapConfig {
    CoapConfig {
        max_in_flight: 3,
        max_waiting: 3,
        max_open_per_source: 4,
        max_queries: 2,
        max_exchanges: 12,
        max_exchanges_per_source: 6,
        max_sources: 4,
        max_message_bytes: 1024,
        max_open_bytes: 2048,
        max_uploads: 3,
        max_uploads_per_source: 2,
        max_upload_bytes: 1024,
        max_separate: 4,
        ..CoapConfig::default()
    }
}

const BOUNDS: [usize; 9] = [12, 4, 3, 1024, 4, 3, 3, 2048, 2];

/// Datagrams of several senders, answers of the node, and time. Each step is a byte that says what happens and one that
/// says how long its datagram is.
pub fn exchange(bytes: &[u8]) {
    let mut now = Instant::now();
    let clock = Arc::new(ManualClock::new(Timestamp(1_800_000_000_000)));
    let mut core = Core::new(now, config(), clock, Arc::default());
    let (mut messages, mut questions) = (Vec::new(), Vec::new());
    let mut traffic: HashMap<SocketAddr, (usize, usize)> = HashMap::new();
    let mut rest = bytes;
    while let [what, len, behind @ ..] = rest {
        let (datagram, behind) = behind.split_at(behind.len().min(usize::from(*len)));
        rest = behind;
        let from = SocketAddr::from(([127, 0, 0, 1], u16::from(what >> 4)));
        match what & 0x0f {
            0..=9 => {
                traffic.entry(from).or_default().0 += datagram.len();
                core.datagram(now, from, datagram, what & 0x0f != 9);
            }
            10 | 11 => {
                if let Some(number) = messages.pop() {
                    core.answered(now, number, &answer(*len));
                }
            }
            12 => {
                if let Some(number) = questions.pop() {
                    core.found(now, number, &Ok(None));
                }
            }
            13 => now += Duration::from_millis(u64::from(*len) * 20),
            14 => now += Duration::from_secs(u64::from(*len)),
            _ => core.stop(now),
        }
        core.tick(now);
        settle(&mut core, &mut traffic, (&mut messages, &mut questions));
    }
    core.refuse_all(now);
    settle(&mut core, &mut traffic, (&mut messages, &mut questions));
    for _ in 0..6 {
        now += Duration::from_secs(250);
        core.tick(now);
        settle(&mut core, &mut traffic, (&mut messages, &mut questions));
    }
    assert_eq!(core.sizes(), [0; 9], "something is left for ever");
}

fn settle(
    core: &mut Core,
    traffic: &mut HashMap<SocketAddr, (usize, usize)>,
    (messages, questions): (&mut Vec<u64>, &mut Vec<u64>),
) {
    for effect in core.effects() {
        match effect {
            Effect::Send(to, bytes) => traffic.entry(to).or_default().1 += bytes.len(),
            Effect::Submit(number, _) => messages.push(number),
            Effect::Ask(number, _) => questions.push(number),
        }
    }
    let sizes = core.sizes();
    assert!(sizes.iter().zip(BOUNDS).all(|(size, bound)| *size <= bound), "{sizes:?} over {BOUNDS:?}");
    let amplified = traffic.values().any(|(came, went)| *went > 3 * came);
    assert!(!amplified, "somebody is sent more than three times what came from him: {traffic:?}");
}

fn answer(how: u8) -> w3bstream_endpoint::Answer {
    match RefusalKind::ALL.get(usize::from(how)) {
        Some(kind) => Err(Refusal::new(*kind, "x".repeat(usize::from(how) * 40))),
        None => {
            let id = MessageId::of_signing_input(&[how]);
            Ok(Accepted { id, duplicate: how.is_multiple_of(2), mode: AckMode::Durable, results: Vec::new() })
        }
    }
}
