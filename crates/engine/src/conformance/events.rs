//! Events from handlers to handlers, and answers.

use std::sync::Arc;

use w3bstream_types::{GuestLimits, OutputKind};

use super::Checked;
use super::rig::{Rig, ensure, handler, same};
use crate::abi::code;
use crate::{Caused, Engine, GuestError, Outcome};

fn sends(name: &str, (at, len): (u32, u32), (payload, size): (i64, i64)) -> String {
    handler(
        name,
        &format!("(call $event (i32.const {at}) (i32.const {len}) (i32.const {payload}) (i32.const {size}))"),
    )
}

fn outputs(outcome: &Outcome) -> Vec<(OutputKind, &[u8], &[u8])> {
    outcome.outputs.iter().map(|o| (o.kind, o.target.as_slice(), o.data.as_slice())).collect()
}

pub(super) fn events_become_outputs_within_what_a_message_may_cause(engine: &Arc<dyn Engine>) -> Checked {
    let twice = "(drop (call $event (i32.const 100) (i32.const 4) (i32.const 8) (i32.const 3)))
                 (call $event (i32.const 100) (i32.const 4) (i32.const 8) (i32.const 0))";
    let fields = [
        r#"(data (i32.const 100) "seen") (data (i32.const 110) "Seen") (data (i32.const 120) "a\ff")"#
            .to_owned(),
        r#"(data (i32.const 200) "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")"#
            .to_owned(),
        sends("good", (100, 4), (8, 3)),
        sends("longest", (200, 63), (8, 0)),
        handler("twice", twice),
        handler("fails", &format!("(drop (block (result i32) {twice})) unreachable")),
        sends("upper", (110, 4), (8, 3)),
        sends("no_text", (120, 2), (8, 3)),
        sends("no_type", (100, 0), (8, 3)),
        sends("long_type", (200, 64), (8, 3)),
        sends("far_type", (65_533, 4), (8, 3)),
        sends("far_payload", (100, 4), (65_534, 3)),
        sends("negative", (100, 4), (8, -1)),
    ];
    let mut rig = Rig::new(engine, &fields.concat())?;
    same(
        "event",
        &outputs(&rig.returns("good", code::OK)?),
        &vec![(OutputKind::Event, &b"seen"[..], &b"out"[..])],
    )?;
    rig.returns("longest", code::OK)?;
    let two = rig.returns("twice", code::OK)?;
    same("events", &outputs(&two).iter().map(|o| o.2).collect::<Vec<_>>(), &vec![&b"out"[..], &b""[..]])?;
    rig.fails("fails", GuestError::Trap)?;
    for bad in ["upper", "no_text", "no_type", "long_type", "far_type", "far_payload", "negative"] {
        let outcome = rig.returns(bad, code::FAILED)?;
        ensure(outcome.outputs.is_empty(), || format!("{bad} became an event"))?;
    }
    // What the message has caused before counts.
    let limits = rig.limits;
    rig.limits = GuestLimits { events: 3, event_bytes: 20, event_depth: 2, ..limits };
    rig.caused = Caused { depth: 1, events: 1, bytes: 9 };
    rig.returns("twice", code::OK)?;
    for (what, caused, answer) in [
        ("depth", Caused { depth: 2, ..Caused::default() }, code::TOO_DEEP),
        ("number", Caused { events: 2, ..Caused::default() }, code::TOO_MANY),
        ("bytes", Caused { bytes: 10, ..Caused::default() }, code::TOO_MANY),
        ("sum of bytes", Caused { bytes: u64::MAX, ..Caused::default() }, code::TOO_MANY),
    ] {
        rig.caused = caused;
        let outcome = rig.returns("twice", answer).map_err(|e| format!("beyond the {what}: {e}"))?;
        let sent = if what == "number" || what == "bytes" { 1 } else { 0 };
        same(&format!("events beyond the {what}"), &outcome.outputs.len(), &sent)?;
        same(&format!("events not sent beyond the {what}"), &outcome.cut.events, &(2 - sent as u64))?;
        let told = outcome.logs.iter().any(|line| line.text.starts_with("no event"));
        ensure(told, || format!("the log does not tell of the {what}"))?;
    }
    // An event is an output like any other, too.
    rig.caused = Caused::default();
    rig.limits = GuestLimits { output_bytes: 38, ..limits };
    rig.fails("good", GuestError::OutputLimit)?;
    Ok(())
}

pub(super) fn a_call_answers_once(engine: &Arc<dyn Engine>) -> Checked {
    let answer = |at: i64, len: i64| format!("(call $answer (i32.const {at}) (i32.const {len}))");
    let fields = [
        handler("good", &answer(8, 3)),
        handler("empty", &answer(8, 0)),
        handler("twice", &format!("(drop {}) {}", answer(8, 3), answer(8, 2))),
        handler("far", &answer(65_534, 3)),
        handler("negative", &answer(8, -1)),
        handler("fails", &format!("(drop {}) unreachable", answer(8, 3))),
    ];
    let mut rig = Rig::new(engine, &fields.concat())?;
    for (name, returned, wanted) in
        [("good", code::OK, &b"out"[..]), ("empty", code::OK, b""), ("twice", code::FAILED, b"out")]
    {
        let outcome = rig.returns(name, returned)?;
        same(name, &outputs(&outcome), &vec![(OutputKind::Answer, name.as_bytes(), wanted)])?;
    }
    for bad in ["far", "negative"] {
        let outcome = rig.returns(bad, code::FAILED)?;
        ensure(outcome.outputs.is_empty(), || format!("{bad} became an answer"))?;
    }
    rig.fails("fails", GuestError::Trap)?;
    rig.limits = GuestLimits { output_bytes: 34, ..rig.limits };
    rig.fails("good", GuestError::OutputLimit)?;
    Ok(())
}
