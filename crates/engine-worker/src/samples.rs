//! Frames with contents of every kind, for tests and for the seeds of fuzzing.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "constants of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;

use w3bstream_engine::{Call, Caused, Cut, Error, ErrorKind, GuestError, LogLine, Outcome, Source, Uses};
use w3bstream_types::{
    Address, ChainRule, ContractAnswer, ContractCall, CronTrigger, Did, Digest, Encoder, EventType,
    GuestLimits, Missed, Output, OutputKind, ProjectId, Settlement, SqlBudget, SqlOutcome, SqlRefusal,
    SqlRows, SqlStatement, SqlValue, Trigger, TriggerOn,
};

use crate::frame::{Kind, Wire};
use crate::values::{
    About, Asked, Terms, Told, put_call, put_contract, put_error, put_get, put_outcome, put_ready, put_sql,
};

/// A frame, head and all.
fn frame(kind: Kind, write: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let mut wire = Wire::new(Cursor::new(vec![]));
    wire.put(kind, write).unwrap();
    wire.stream().get_ref().clone()
}

pub(crate) fn outcomes() -> [Outcome; 2] {
    let output = |kind| Output { kind, chain_id: 4689, target: b"a/b".to_vec(), data: vec![0, 255] };
    let full = Outcome {
        result: Ok(-7),
        gas: u64::MAX,
        writes: BTreeMap::from([(vec![], vec![1]), (b"k".to_vec(), vec![])]),
        removed: BTreeSet::from([b"gone".to_vec()]),
        outputs: vec![output(OutputKind::Mqtt), output(OutputKind::Answer)],
        logs: vec![LogLine { level: -1, text: "é".into() }, LogLine { level: 4, text: String::new() }],
        cut: Cut { log_lines: 3, events: 1 },
    };
    let (writes, removed) = (BTreeMap::new(), BTreeSet::new());
    let result = Err(GuestError::OutOfGas);
    [full, Outcome { result, gas: 0, writes, removed, outputs: vec![], logs: vec![], cut: Cut::default() }]
}

/// Calls `with` for a call that has everything, and for one that has nothing.
pub(crate) fn calls(mut with: impl FnMut(&Call<'_>)) {
    let event_type: EventType = "reading".parse().unwrap();
    let device: Did = "did:web:example.org".parse().unwrap();
    let limits = GuestLimits::default();
    let settlements = [Settlement {
        name: "day".parse().unwrap(),
        chain_id: 1,
        executor: Address::from_bytes([1; 20]),
        contract: Address::from_bytes([2; 20]),
        fields: vec!["bytes32 device".parse().unwrap()],
        proof: None,
    }];
    let operators = vec!["op".parse().unwrap()];
    let chains = [ChainRule { chain_id: 1, read: true, send: true, confirmations: 2, operators }];
    let on = TriggerOn::Cron(CronTrigger { schedule: "0 * * * *".into(), missed: Missed::Last });
    let triggers = [Trigger { name: "t".parse().unwrap(), event_type: event_type.clone(), on }];
    let env = [("NAME".to_owned(), "value".to_owned())];
    let nothing = Call {
        handler: "",
        event_type: &event_type,
        payload: b"",
        rid: 1,
        source: Source::default(),
        env: &[],
        settlements: &[],
        chains: &[],
        triggers: &[],
        id: Digest::ZERO,
        limits: &limits,
    };
    with(&nothing);
    with(&Call {
        handler: "a b\u{e9}",
        payload: b"21.5",
        rid: i32::MAX,
        source: Source {
            project: Some(ProjectId(Digest::of(b"project"))),
            device: Some(&device),
            salt: Some(&[9; 16]),
            time: 258,
            caused: Caused { depth: 1, events: 2, bytes: 3 },
            block_time: u64::MAX,
        },
        env: &env,
        settlements: &settlements,
        chains: &chains,
        triggers: &triggers,
        id: Digest::of(b"call"),
        ..nothing
    });
}

pub(crate) fn asked() -> [Asked; 3] {
    let values = [
        SqlValue::Null,
        SqlValue::Integer(i64::MIN),
        SqlValue::Real(-0.0),
        SqlValue::Text("x".into()),
        SqlValue::Blob(vec![1]),
        SqlValue::Bool(true),
    ];
    let statement = SqlStatement { text: "select ?".into(), params: values.to_vec() };
    let call = ContractCall { chain_id: 1, to: Address::from_bytes([3; 20]), data: vec![4; 36] };
    [Asked::Get(b"key".to_vec()), Asked::Contract(call), Asked::Sql(statement, SqlBudget::UNLIMITED)]
}

pub(crate) fn told() -> Vec<Told> {
    let params = match asked() {
        [_, _, Asked::Sql(statement, _)] => statement.params,
        _ => vec![],
    };
    let rows = SqlRows { columns: vec!["a".into()], rows: vec![params.clone(), vec![]] };
    let refused =
        [SqlRefusal::NoDatabase, SqlRefusal::OutOfGas, SqlRefusal::TooMuch, SqlRefusal::Refused("no".into())];
    let mut all = vec![
        Told::Value(None),
        Told::Value(Some(b"value".to_vec())),
        Told::Contract(None),
        Told::Contract(Some(ContractAnswer::Returned(vec![1]))),
        Told::Contract(Some(ContractAnswer::Reverted(vec![]))),
        Told::Sql(SqlOutcome { gas: 5, result: Ok(rows) }),
        Told::Failed(Error::new(ErrorKind::State, "it cannot be read")),
    ];
    all.extend(refused.map(|why| Told::Sql(SqlOutcome { gas: 6, result: Err(why) })));
    all
}

/// All of them.
pub(crate) fn frames() -> Vec<Vec<u8>> {
    let about = About {
        program: Digest::ZERO,
        instrumented: Digest::of(b"i"),
        handlers: vec!["h".into()],
        uses: Uses { events: false, database: true },
    };
    let mut all = vec![
        frame(Kind::Hello, |e| Terms { cache_entries: 64, memory_bytes: 1 << 32 }.put(e)),
        frame(Kind::Ready, |e| put_ready(e, "wasmer")),
        frame(Kind::Unknown, |_| {}),
        frame(Kind::Load, |e| {
            e.digest(&Digest::ZERO);
        }),
        frame(Kind::Loaded, |e| about.put(e)),
        frame(Kind::Failed, |e| put_error(e, ErrorKind::BadProgram, "no memory")),
    ];
    calls(|call| all.push(frame(Kind::Call, |e| put_call(e, &Digest::ZERO, call, true))));
    all.extend(outcomes().iter().map(|outcome| frame(Kind::Outcome, |e| put_outcome(e, outcome))));
    all.extend(told().iter().map(|told| frame(Kind::Answer, |e| told.put(e))));
    all.extend(asked().iter().map(|asked| {
        frame(Kind::Ask, |e| match asked {
            Asked::Get(key) => put_get(e, key),
            Asked::Contract(call) => put_contract(e, call),
            Asked::Sql(statement, budget) => put_sql(e, statement, budget),
        })
    }));
    all
}
