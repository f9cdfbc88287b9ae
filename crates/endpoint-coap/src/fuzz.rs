//! Any datagrams in any order, with any answers: nothing panics, every bound holds, nobody is sent more than three times
//! what came from him.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use coap_lite::{CoapOption, MessageClass, MessageType, Packet, RequestType};
use proptest::prelude::*;
use tokio::time::Instant;
use w3bstream_endpoint::MessageLife;
use w3bstream_endpoint::conformance::messages;
use w3bstream_types::{Form, Submission, SystemClock};

use crate::codec::{Block, write};
use crate::core::{Core, Effect};
use crate::narrow::{BOUNDS, answer, config};

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    Datagram {
        port: u16,
        bytes: Vec<u8>,
        whole: bool,
    },
    /// The same datagram as before, from the same source.
    Again,
    /// One of the open requests is answered.
    Answer {
        which: usize,
        how: u8,
    },
    Pass {
        millis: u64,
    },
    Stop,
}

fn body(counter: u32) -> Vec<u8> {
    let Submission::Signed(record) = &messages(counter, 1)[0].submission else { panic!("devices sign") };
    let Form::Jws(jws) = record.form() else { panic!("the kit makes JWS") };
    jws.compact().as_bytes().to_vec()
}

/// Something like a request: often a good one.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let path = prop_oneof![
        3 => Just("w3b/kit/reading".to_owned()),
        1 => Just(format!("w3b/message/{}", "0a".repeat(32))),
        1 => Just(".well-known/core".to_owned()),
        1 => "[a-z3/.]{0,20}",
    ];
    let blocks = (0..4_u32, any::<bool>(), 0..3_u8);
    let options =
        proptest::collection::vec((0..300_u16, proptest::collection::vec(any::<u8>(), 0..12)), 0..2);
    let block1 = proptest::option::of(blocks.clone());
    let block2 = proptest::option::weighted(0.2, blocks);
    let payload = prop_oneof![
        (0..5_u32).prop_map(body),
        proptest::collection::vec(any::<u8>(), 0..70),
        Just(vec![b'x'; 16]),
        Just(vec![b'x'; 64]),
    ];
    let header = (0..2_u8, 0..40_u16, proptest::collection::vec(any::<u8>(), 0..=8), any::<bool>());
    (header, path, block1, block2, options, payload).prop_map(
        |(header, path, block1, block2, options, payload)| {
            let (kind, id, token, post) = header;
            let mut packet = Packet::new();
            let method = if post { RequestType::Post } else { RequestType::Get };
            packet.header.code = MessageClass::Request(method);
            for segment in path.split('/') {
                packet.add_option(CoapOption::UriPath, segment.as_bytes().to_vec());
            }
            for (option, block) in [(CoapOption::Block1, block1), (CoapOption::Block2, block2)] {
                if let Some((number, more, exponent)) = block {
                    packet.add_option(option, Block { number, more, exponent }.to_bytes());
                }
            }
            for (number, value) in options {
                packet.add_option(CoapOption::from(number), value);
            }
            packet.payload = payload;
            let kind = if kind == 0 { MessageType::Confirmable } else { MessageType::NonConfirmable };
            write(packet, kind, id, &token)
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let noise = proptest::collection::vec(any::<u8>(), 0..80);
    // A good header, then anything.
    let half = (0..4_u8, any::<u8>(), 0..40_u16, proptest::collection::vec(any::<u8>(), 0..60)).prop_map(
        |(kind, code, id, rest)| {
            let [high, low] = id.to_be_bytes();
            [&[0x40 | kind << 4, code, high, low], rest.as_slice()].concat()
        },
    );
    let bytes = prop_oneof![1 => noise, 2 => half, 8 => request()];
    let datagram = (1..7_u16, bytes, prop::bool::weighted(0.95));
    prop_oneof![
        10 => datagram.prop_map(|(port, bytes, whole)| Event::Datagram { port, bytes, whole }),
        2 => Just(Event::Again),
        6 => (any::<usize>(), any::<u8>()).prop_map(|(which, how)| Event::Answer { which, how }),
        3 => (0..3000_u64).prop_map(|millis| Event::Pass { millis }),
        1 => (200_000..300_000_u64).prop_map(|millis| Event::Pass { millis }),
        1 => prop::bool::weighted(0.02).prop_map(|stop| if stop { Event::Stop } else { Event::Again }),
    ]
}

/// A core with what is outside of it.
struct World {
    core: Core,
    now: Instant,
    open: Vec<Open>,
    last: Option<(SocketAddr, Vec<u8>)>,
    received: HashMap<SocketAddr, usize>,
    sent: HashMap<SocketAddr, usize>,
}

enum Open {
    Message(u64),
    Question(u64),
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let core = Core::new(now, config(), Arc::new(SystemClock), Arc::default());
        let (received, sent) = (HashMap::new(), HashMap::new());
        Self { core, now, open: Vec::new(), last: None, received, sent }
    }

    fn datagram(&mut self, from: SocketAddr, bytes: &[u8], whole: bool) {
        *self.received.entry(from).or_default() += bytes.len();
        self.core.datagram(self.now, from, bytes, whole);
        self.last = Some((from, bytes.to_vec()));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Datagram { port, bytes, whole } => {
                self.datagram(SocketAddr::from(([127, 0, 0, 1], port)), &bytes, whole);
            }
            Event::Again => {
                if let Some((from, bytes)) = self.last.clone() {
                    self.datagram(from, &bytes, true);
                }
            }
            Event::Answer { which, how } if !self.open.is_empty() => {
                match self.open.swap_remove(which % self.open.len()) {
                    Open::Message(number) => self.core.answered(self.now, number, &answer(how)),
                    Open::Question(number) => {
                        let life = MessageLife {
                            project: "kit".parse().unwrap(),
                            states: Vec::new(),
                            settlements: Vec::new(),
                            settlement_count: u64::from(how),
                        };
                        self.core.found(self.now, number, &Ok((how > 50).then_some(life)));
                    }
                }
            }
            Event::Answer { .. } => {}
            Event::Pass { millis } => self.now += Duration::from_millis(millis),
            Event::Stop => self.core.stop(self.now),
        }
        self.core.tick(self.now);
        for effect in self.core.effects() {
            match effect {
                Effect::Send(to, bytes) => *self.sent.entry(to).or_default() += bytes.len(),
                Effect::Submit(number, _) => self.open.push(Open::Message(number)),
                Effect::Ask(number, _) => self.open.push(Open::Question(number)),
            }
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let sizes = self.core.sizes();
        prop_assert!(
            sizes.iter().zip(BOUNDS).all(|(size, bound)| *size <= bound),
            "{sizes:?} over {BOUNDS:?}"
        );
        for (to, sent) in &self.sent {
            let received = self.received.get(to).copied().unwrap_or(0);
            prop_assert!(*sent <= 3 * received, "{sent} bytes for {received}");
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn any_datagrams_keep_every_bound(events in proptest::collection::vec(event(), 0..120)) {
        let mut world = World::new();
        for event in events {
            world.happen(event);
            world.check()?;
        }
        // In the end nothing is left over.
        world.core.refuse_all(world.now);
        world.happen(Event::Pass { millis: 0 });
        world.check()?;
        let [_, _, uploads, upload_bytes, _, waiting, in_flight, open_bytes, queries] = world.core.sizes();
        prop_assert_eq!([uploads, upload_bytes, waiting, in_flight, open_bytes, queries], [0; 6]);
        for _ in 0..6 {
            world.happen(Event::Pass { millis: 250_000 });
        }
        prop_assert_eq!(world.core.sizes(), [0; 9]);
        prop_assert!(world.core.is_settled());
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000), whole: bool) {
        let _ = crate::codec::read(&bytes, whole);
    }
}
