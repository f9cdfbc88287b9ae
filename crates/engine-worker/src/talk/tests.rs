//! Conversations with workers that are threads: an honest one, and liars.

use std::thread::JoinHandle;

use w3bstream_engine::conformance::MemoryState;
use w3bstream_engine::conformance::second::Interpreter;
use w3bstream_engine::{Engine, Uses};
use w3bstream_types::Encoder;

use super::*;
use crate::frame::Frame;
use crate::serve;
use crate::values::{put_get, put_outcome, put_ready};

const TIMES: Times = Times { call: Duration::from_secs(20), load: Duration::from_secs(20) };

/// Reads key `data` and gives how long its value is, or the answer of `ws_get_db`.
const READS: &str = r#"(module (import "env" "ws_get_db" (func $get (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 40) (data (i32.const 0) "data")
    (func (export "alloc") (param i32) (result i32) (i32.const 1024))
    (func (export "h") (param i32) (result i32) (local i32)
      (local.set 1 (call $get (i32.const 0) (i32.const 4) (i32.const 16) (i32.const 20)))
      (if (result i32) (local.get 1) (then (local.get 1)) (else (i32.load (i32.const 20))))))"#;

fn program() -> Program {
    let bytes: Arc<[u8]> = wat::parse_str(READS).unwrap().into();
    Program { digest: Digest::of(&bytes), bytes }
}

fn greeted(stream: UnixStream) -> Talk {
    let mut talk = Talk::new(stream);
    let terms = Terms { cache_entries: 1, memory_bytes: 0 };
    assert_eq!(talk.greet(&terms, Duration::from_secs(20)).unwrap().unwrap(), "wasmi");
    talk
}

fn honest() -> (Talk, JoinHandle<Result<(), Error>>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let engine = || Ok(Arc::new(Interpreter::new()) as Arc<dyn Engine>);
    let worker = std::thread::spawn(move || serve(|_| engine(), theirs));
    (greeted(ours), worker)
}

fn called(talk: &mut Talk, state: &mut dyn HostState, times: Times) -> Result<Result<Outcome, Error>, Fault> {
    let (event_type, limits) = ("reading".parse().unwrap(), GuestLimits::default());
    let call = Call { rid: 1, ..Call::of("h", &event_type, &[7; 300_000], &limits) };
    talk.call(&program(), &call, state, times)
}

/// State of one key.
fn state(value: &[u8]) -> MemoryState {
    MemoryState([(b"data".to_vec(), value.to_vec())].into())
}

#[test]
fn a_call_is_answered_and_programs_are_sent_when_they_are_not_there() {
    let (mut talk, worker) = honest();
    // Unknown at first, then known; what is large goes over in pieces, both ways.
    for len in [5_usize, 500_000, 5] {
        let outcome = called(&mut talk, &mut state(&vec![1; len]), TIMES).unwrap().unwrap();
        assert_eq!(outcome.result, Ok(i32::try_from(len).unwrap()));
    }
    assert_eq!(talk.load(&program(), TIMES.load).unwrap().unwrap().handlers, ["alloc", "h"]);
    let other: Arc<[u8]> = wat::parse_str(r#"(module (memory (export "memory") 1))"#).unwrap().into();
    let other = Program { digest: Digest::of(&other), bytes: other };
    assert!(talk.load(&other, TIMES.load).unwrap().unwrap().handlers.is_empty());
    // It keeps one; the other comes again.
    assert_eq!(called(&mut talk, &mut state(b"a"), TIMES).unwrap().unwrap().result, Ok(1));
    let bad = Program { digest: Digest::of(b"no"), bytes: b"no".as_slice().into() };
    assert_eq!(talk.load(&bad, TIMES.load).unwrap().unwrap_err().kind(), ErrorKind::BadProgram);
    drop(talk);
    worker.join().unwrap().unwrap();
}

struct Fails(bool);

impl HostState for Fails {
    fn kv_get(&mut self, _: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        assert!(!self.0, "on purpose");
        Err(Error::new(ErrorKind::State, "unreadable").with_source(std::io::Error::other("the cause")))
    }
}

#[test]
fn the_states_own_error_is_the_calls() {
    let (mut talk, worker) = honest();
    let error = called(&mut talk, &mut Fails(false), TIMES).unwrap().unwrap_err();
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::State, "unreadable: the cause".to_owned()));
    assert!(std::error::Error::source(&error).is_some(), "not only its text");
    let error = called(&mut talk, &mut Fails(true), TIMES).unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Host);
    assert_eq!(called(&mut talk, &mut state(b"a"), TIMES).unwrap().unwrap().result, Ok(1));
    drop(talk);
    worker.join().unwrap().unwrap();
}

/// A worker that greets, reads a call, and then does what `lie` does.
fn liar(lie: impl FnOnce(&mut Wire<UnixStream>) + Send + 'static) -> (Talk, JoinHandle<()>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let worker = std::thread::spawn(move || {
        let mut wire = Wire::new(theirs);
        wire.receive(|_| Some(SMALL_BYTES)).unwrap();
        wire.put(Kind::Ready, |e| put_ready(e, "wasmi")).unwrap();
        wire.receive(|_| Some(MAX_FRAME_BYTES)).unwrap();
        lie(&mut wire);
    });
    (greeted(ours), worker)
}

fn raw(wire: &mut Wire<UnixStream>, length: u32, kind: u8, body: &[u8]) {
    let bytes = [&length.to_le_bytes()[..], &[kind], body].concat();
    wire.stream().write_all(&bytes).unwrap();
}

#[test]
fn a_worker_that_lies_is_found_out() {
    type Lie = fn(&mut Wire<UnixStream>);
    let lies: [(&str, Lie); 11] = [
        ("no kind of frame", |w| raw(w, 1, 250, &[])),
        ("may have", |w| raw(w, u32::MAX, Kind::Outcome as u8, &[])),
        ("may have", |w| raw(w, 0, Kind::Outcome as u8, &[])),
        ("connection is closed", |w| raw(w, 100, Kind::Outcome as u8, &[1, 2])),
        ("connection is closed", |_| {}),
        ("has no place here", |w| w.send(Kind::Hello, &[]).unwrap()),
        ("has no place here", |w| w.send(Kind::Loaded, &[]).unwrap()),
        ("malformed outcome", |w| {
            w.put(Kind::Outcome, |e: &mut Encoder| {
                e.u64(1).text("tired");
            })
            .unwrap();
        }),
        ("bytes behind", |w| {
            let [outcome, _] = crate::samples::outcomes();
            w.put(Kind::Outcome, |e| {
                put_outcome(e, &outcome);
                e.u64(0);
            })
            .unwrap();
        }),
        ("malformed question", |w| {
            w.put(Kind::Ask, |e| {
                e.u64(9);
            })
            .unwrap();
        }),
        ("in place of", |w| {
            w.send(Kind::Unknown, &[]).unwrap();
            w.receive(|_| Some(MAX_FRAME_BYTES)).unwrap();
            let about = About {
                program: Digest::ZERO,
                instrumented: Digest::ZERO,
                handlers: vec!["h".into()],
                uses: Uses::ALL,
            };
            w.put(Kind::Loaded, |e| about.put(e)).unwrap();
        }),
    ];
    for (number, (said, lie)) in lies.into_iter().enumerate() {
        let (mut talk, worker) = liar(lie);
        let fault = called(&mut talk, &mut state(b"a"), TIMES).unwrap_err();
        assert!(fault.to_string().contains(said), "lie {number}: {fault}");
        drop(talk);
        worker.join().unwrap();
    }
}

#[test]
fn who_never_comes_to_an_end_is_given_no_more_time() {
    let times = Times { call: Duration::from_millis(100), load: Duration::from_secs(20) };
    let lies: [fn(&mut Wire<UnixStream>); 3] = [
        // Silent.
        |w| drop(w.receive(|_| Some(MAX_FRAME_BYTES))),
        // Asks for ever.
        |w| {
            while w
                .put(Kind::Ask, |e| put_get(e, b"data"))
                .and_then(|()| w.receive(|_| Some(100)).map(drop))
                .is_ok()
            {}
        },
        // One byte after the other.
        |w| {
            raw(w, 1_000_000, Kind::Outcome as u8, &[]);
            while w.stream().write_all(&[0]).is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
        },
    ];
    for lie in lies {
        let (mut talk, worker) = liar(lie);
        let begin = Instant::now();
        let fault = called(&mut talk, &mut state(b"a"), times).unwrap_err();
        assert!(matches!(fault, Fault::TooLong), "{fault}");
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
        drop(talk);
        worker.join().unwrap();
    }
}

#[test]
fn a_worker_that_does_not_read_blocks_nobody_for_long() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut talk = Talk::new(ours);
    let times = Times { call: Duration::from_millis(100), load: Duration::from_millis(100) };
    // More than the system keeps for it.
    let large = Program { digest: Digest::ZERO, bytes: vec![0; 4 << 20].into() };
    let mut other = Wire::new(theirs.try_clone().unwrap());
    let writes = std::thread::spawn(move || {
        other.receive(|_| Some(SMALL_BYTES)).map(drop).and_then(|()| other.send(Kind::Unknown, &[]))
    });
    let fault = talk.load(&large, times.load).unwrap_err();
    assert!(matches!(fault, Fault::TooLong), "{fault}");
    writes.join().unwrap().unwrap();
    drop(theirs);
}

#[test]
fn the_nodes_own_time_does_not_count() {
    struct Slow;

    impl HostState for Slow {
        fn kv_get(&mut self, _: &[u8]) -> Result<Option<Vec<u8>>, Error> {
            std::thread::sleep(Duration::from_millis(600));
            Ok(None)
        }
    }

    let (mut talk, worker) = honest();
    called(&mut talk, &mut state(b"a"), TIMES).unwrap().unwrap();
    let times = Times { call: Duration::from_millis(500), ..TIMES };
    assert_eq!(called(&mut talk, &mut Slow, times).unwrap().unwrap().result, Ok(2));
    drop(talk);
    worker.join().unwrap().unwrap();
}

#[test]
fn a_worker_of_another_version_and_what_is_none_are_told() {
    let terms = Terms { cache_entries: 1, memory_bytes: 0 };
    let hello = |say: fn(&mut Wire<UnixStream>)| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let other = std::thread::spawn(move || {
            let mut wire = Wire::new(theirs);
            wire.receive(|_| Some(SMALL_BYTES)).unwrap();
            say(&mut wire);
        });
        let greeted = Talk::new(ours).greet(&terms, Duration::from_secs(20));
        other.join().unwrap();
        greeted
    };
    let other = hello(|w| {
        w.put(Kind::Ready, |e| {
            e.u64(99).u64(3).text("wasmer");
        })
        .unwrap();
    });
    assert!(other.unwrap_err().to_string().contains("frames of version 99"));
    let shell = hello(|w| w.stream().write_all(b"sh: no such file\n").unwrap());
    assert!(shell.unwrap_err().to_string().contains("worker-command"));
    let failed =
        hello(|w| w.put(Kind::Failed, |e| crate::values::put_error(e, ErrorKind::Host, "no room")).unwrap());
    assert_eq!(failed.unwrap().unwrap_err().to_string(), "no room");
    // The worker's side says it as well.
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let engine = || Ok(Arc::new(Interpreter::new()) as Arc<dyn Engine>);
    let worker = std::thread::spawn(move || serve(|_| engine(), theirs));
    let mut wire = Wire::new(&mut ours);
    wire.put(Kind::Hello, |e| {
        e.u64(99).u64(3).u64(1).u64(0);
    })
    .unwrap();
    let Frame { kind, .. } = wire.receive(|_| Some(SMALL_BYTES)).unwrap();
    assert_eq!(kind, Kind::Failed);
    assert!(worker.join().unwrap().unwrap_err().to_string().contains("frames of version 99"));
}
