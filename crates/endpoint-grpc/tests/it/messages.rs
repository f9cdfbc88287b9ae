//! Where messages are.

use std::time::Duration;

use tokio::time::timeout;
use tonic::{Code, Streaming};
use w3bstream_endpoint::{Endpoint as _, ErrorKind, Feed, LiveChange, MessageLife};
use w3bstream_endpoint_grpc::GrpcLimits;
use w3bstream_endpoint_grpc::proto::watch_response::Event;
use w3bstream_endpoint_grpc::proto::{
    Change, GetRequest, MessageState as State, ProofStep as Proof, SettlementStep as Step, WatchRequest,
    WatchResponse,
};
use w3bstream_types::{
    MessageId, MessageSettlement, MessageState, ProofStep, SettlementStep, SettlingTransaction, StateChange,
    Timestamp,
};

use crate::harness::{QUIET, Server, code_of, expect_problem, in_time, quick, start, start_with};

fn id(n: u8) -> MessageId {
    MessageId::of_signing_input(&[n])
}

fn step(state: MessageState, time: u64) -> StateChange {
    StateChange { state, time: Timestamp(time), reason: format!("why {time}") }
}

fn live(n: u8, project: &str, state: MessageState) -> LiveChange {
    LiveChange {
        project: project.parse().unwrap(),
        id: id(n),
        source: format!("publisher:{n}"),
        event_type: "reading".parse().unwrap(),
        change: step(state, n.into()),
    }
}

fn life(states: &[MessageState]) -> MessageLife {
    let states = (1..).zip(states).map(|(time, state)| step(*state, time)).collect();
    MessageLife { project: "kit".parse().unwrap(), states, settlements: vec![], settlement_count: 0 }
}

fn watch_id(n: u8, until_final: bool) -> WatchRequest {
    WatchRequest { id: id(n).to_string(), until_final, ..Default::default() }
}

async fn watch(server: &Server, request: WatchRequest) -> Streaming<WatchResponse> {
    in_time(server.messages().await.watch(request)).await.unwrap().into_inner()
}

async fn change(stream: &mut Streaming<WatchResponse>) -> Change {
    match in_time(stream.message()).await.unwrap().expect("an event").event {
        Some(Event::Change(change)) => change,
        other => panic!("{other:?}"),
    }
}

async fn state(stream: &mut Streaming<WatchResponse>) -> State {
    change(stream).await.change.unwrap().state()
}

#[tokio::test]
async fn the_life_of_a_message_is_told() {
    let server = start(quick());
    let mut known = life(&[MessageState::Stored, MessageState::Ordered]);
    known.settlement_count = 102;
    known.settlements = vec![MessageSettlement {
        height: 5,
        index: 2,
        name: "pay".into(),
        chain: 4690,
        state: SettlementStep::Settled,
        proof: ProofStep::Made,
        attempts: 3,
        reason: "r".into(),
        transaction: Some(SettlingTransaction { hash: "0xab".into(), block: 9, gas: 21_000 }),
    }];
    server.query.lives.lock().unwrap().insert(id(1), known);
    let mut client = server.messages().await;
    let found = in_time(client.get(GetRequest { id: id(1).to_string() })).await.unwrap().into_inner();
    assert_eq!((found.id, found.project.as_str()), (id(1).to_string(), "kit"));
    let states: Vec<_> = found.states.iter().map(|s| (s.state(), s.time, s.reason.as_str())).collect();
    assert_eq!(states, [(State::Stored, 1, "why 1"), (State::Ordered, 2, "why 2")]);
    let [settlement] = found.settlements.as_slice() else { panic!("{:?}", found.settlements) };
    assert_eq!((settlement.state(), settlement.proof()), (Step::Settled, Proof::Made));
    assert_eq!((settlement.height, settlement.index, settlement.chain, settlement.attempts), (5, 2, 4690, 3));
    assert_eq!((settlement.name.as_str(), settlement.reason.as_str()), ("pay", "r"));
    let transaction = settlement.transaction.clone().unwrap();
    assert_eq!((transaction.hash.as_str(), transaction.block, transaction.gas), ("0xab", 9, 21_000));
    assert_eq!(found.settlement_count, 102);
}

#[tokio::test]
async fn questions_without_an_answer_say_why() {
    let server = start(quick());
    let mut client = server.messages().await;
    let unknown = GetRequest { id: id(2).to_string() };
    expect_problem(in_time(client.get(unknown.clone())).await, Code::NotFound, "unknown-message");
    let bad = in_time(client.get(GetRequest { id: "xyz".into() })).await;
    expect_problem(bad, Code::InvalidArgument, "malformed");
    for (kind, status, code) in [
        (ErrorKind::State, Code::Unavailable, "state-unavailable"),
        (ErrorKind::Overloaded, Code::ResourceExhausted, "overloaded"),
    ] {
        *server.query.failing.lock().unwrap() = Some(kind);
        let answer = in_time(client.get(unknown.clone())).await;
        assert!(!answer.as_ref().unwrap_err().message().contains("secret"));
        expect_problem(answer, status, code);
        let mut stream = watch(&server, watch_id(2, false)).await;
        expect_problem(in_time(stream.message()).await, status, code);
    }
}

#[tokio::test]
async fn a_watcher_hears_what_it_asked_for() {
    let server = start(quick());
    let mut all = watch(&server, WatchRequest::default()).await;
    let mut project = watch(&server, WatchRequest { project: "b".into(), ..Default::default() }).await;
    let mut source =
        watch(&server, WatchRequest { source: "publisher:3".into(), ..Default::default() }).await;
    let mut kind = watch(&server, WatchRequest { r#type: "other".into(), ..Default::default() }).await;
    server.feed.tell(|| live(1, "a", MessageState::Stored));
    server.feed.tell(|| live(2, "b", MessageState::Ordered));
    server.feed.tell(|| live(3, "a", MessageState::Executed));
    for n in [1, 2, 3] {
        assert_eq!(change(&mut all).await.id, id(n).to_string());
    }
    let heard = change(&mut project).await;
    assert_eq!(
        (heard.project.as_str(), heard.source.as_str(), heard.r#type.as_str()),
        ("b", "publisher:2", "reading")
    );
    let told = heard.change.unwrap();
    assert_eq!((told.state(), told.time, told.reason.as_str()), (State::Ordered, 2, "why 2"));
    assert_eq!(change(&mut source).await.id, id(3).to_string());
    assert!(timeout(QUIET, kind.message()).await.is_err(), "of that type there was nothing");
    drop((all, project, source, kind));
    server.until("w3bstream_grpc_watchers 0").await;
    assert_eq!(server.feed.listeners(), 0);
}

#[tokio::test]
async fn with_an_id_nothing_is_left_out_and_nothing_told_twice() {
    let server = start(quick());
    server.query.lives.lock().unwrap().insert(id(1), life(&[MessageState::Stored, MessageState::Ordered]));
    // While the past is being read, the last step of it is told, and one more.
    let feed = server.feed.clone();
    *server.query.meanwhile.lock().unwrap() = Some(Box::new(move || {
        for state in [MessageState::Ordered, MessageState::Executed] {
            feed.tell(|| live(1, "kit", state));
        }
    }));
    let mut stream = watch(&server, watch_id(1, true)).await;
    let past = change(&mut stream).await;
    assert_eq!((past.project.as_str(), past.source.as_str()), ("kit", ""));
    assert_eq!(past.change.unwrap().state(), State::Stored);
    assert_eq!(state(&mut stream).await, State::Ordered);
    assert_eq!(state(&mut stream).await, State::Executed);
    server.feed.tell(|| live(2, "kit", MessageState::Attested));
    server.feed.tell(|| live(1, "kit", MessageState::Executed));
    server.feed.tell(|| live(1, "kit", MessageState::Attested));
    let last = change(&mut stream).await;
    assert_eq!((last.id, last.change.unwrap().state()), (id(1).to_string(), State::Attested));
    assert!(in_time(stream.message()).await.unwrap().is_none(), "it ends with the final state");
}

#[tokio::test]
async fn a_life_that_is_over_ends_the_watch_only_if_asked() {
    let server = start(quick());
    for last in [MessageState::Attested, MessageState::Rejected, MessageState::Conflicted] {
        server.query.lives.lock().unwrap().insert(id(1), life(&[MessageState::Stored, last]));
        let mut asked = watch(&server, watch_id(1, true)).await;
        let mut open = watch(&server, watch_id(1, false)).await;
        for stream in [&mut asked, &mut open] {
            change(stream).await;
            change(stream).await;
        }
        assert!(in_time(asked.message()).await.unwrap().is_none());
        assert!(timeout(QUIET, open.message()).await.is_err());
    }
}

#[tokio::test]
async fn a_message_that_is_not_known_yet_is_waited_for() {
    let server = start(quick());
    let mut stream = watch(&server, watch_id(9, false)).await;
    assert!(timeout(QUIET, stream.message()).await.is_err());
    server.feed.tell(|| live(9, "kit", MessageState::Stored));
    assert_eq!(state(&mut stream).await, State::Stored);
}

#[tokio::test]
async fn a_slow_watcher_is_told_how_much_it_missed() {
    let server = start_with(quick(), Feed::new(4));
    let mut stream = watch(&server, WatchRequest::default()).await;
    // All in one go, so that the server's task cannot run in between.
    (0..10).for_each(|n| server.feed.tell(|| live(n, "a", MessageState::Stored)));
    let first = in_time(stream.message()).await.unwrap().unwrap();
    assert_eq!(first.event, Some(Event::Missed(6)));
    assert_eq!(change(&mut stream).await.id, id(6).to_string());
}

#[tokio::test]
async fn what_a_watcher_of_one_message_missed_is_asked_for() {
    let server = start_with(quick(), Feed::new(2));
    server.query.lives.lock().unwrap().insert(id(1), life(&[MessageState::Stored]));
    let mut stream = watch(&server, watch_id(1, true)).await;
    assert_eq!(state(&mut stream).await, State::Stored);
    let all = [MessageState::Stored, MessageState::Ordered, MessageState::Executed, MessageState::Attested];
    server.query.lives.lock().unwrap().insert(id(1), life(&all));
    all.iter().skip(1).for_each(|s| server.feed.tell(|| live(1, "kit", *s)));
    (0..10).for_each(|n| server.feed.tell(|| live(n + 50, "a", MessageState::Stored)));
    for expected in [State::Ordered, State::Executed, State::Attested] {
        assert_eq!(state(&mut stream).await, expected);
    }
    assert!(in_time(stream.message()).await.unwrap().is_none());
}

#[tokio::test]
async fn watchers_are_bounded_and_what_makes_no_sense_is_refused() {
    let server = start(GrpcLimits { max_watches: 2, ..quick() });
    let mut client = server.messages().await;
    let id = id(1).to_string();
    for request in [
        WatchRequest { id: "zz".into(), ..Default::default() },
        WatchRequest { project: "No Name".into(), ..Default::default() },
        WatchRequest { until_final: true, ..Default::default() },
        WatchRequest { id: id.clone(), project: "a".into(), ..Default::default() },
        WatchRequest { id, source: "a".into(), ..Default::default() },
    ] {
        let refused = in_time(client.watch(request)).await.map(|_| ());
        expect_problem(refused, Code::InvalidArgument, "malformed");
    }
    let first = watch(&server, WatchRequest::default()).await;
    let _second = watch(&server, WatchRequest::default()).await;
    let refused = in_time(client.watch(WatchRequest::default())).await.map(|_| ());
    expect_problem(refused, Code::ResourceExhausted, "overloaded");
    drop(first);
    server.until("w3bstream_grpc_watchers 1").await;
    watch(&server, WatchRequest::default()).await;
}

#[tokio::test]
async fn strangers_watch_only_what_they_know_of() {
    let server = start(GrpcLimits { watch_all: false, ..quick() });
    let mut client = server.messages().await;
    for request in [
        WatchRequest::default(),
        WatchRequest { project: "a".into(), ..Default::default() },
        WatchRequest { source: "publisher:3".into(), r#type: "t".into(), ..Default::default() },
    ] {
        let refused = in_time(client.watch(request)).await.map(|_| ());
        expect_problem(refused, Code::PermissionDenied, "not-allowed");
    }
    // Who knows an id hears of it: here that it is still nothing.
    let _one = watch(&server, watch_id(1, true)).await;
    server.until("w3bstream_grpc_watchers 1").await;
}

#[tokio::test]
async fn a_watch_that_the_node_ends_does_not_look_complete() {
    let server = start(quick());
    let mut stream = watch(&server, WatchRequest::default()).await;
    let mut other = watch(&server, watch_id(1, true)).await;
    in_time(server.endpoint.close()).await.unwrap();
    for stream in [&mut stream, &mut other] {
        let status = in_time(stream.message()).await.unwrap_err();
        assert_eq!((status.code(), code_of(&status)), (Code::Unavailable, "shutting-down"));
    }
    let server = start(quick());
    let mut stream = watch(&server, WatchRequest::default()).await;
    server.feed.close();
    assert_eq!(in_time(stream.message()).await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_quiet_watch_is_not_idle() {
    let limits = GrpcLimits {
        idle_timeout: Duration::from_millis(100),
        keep_alive_interval: Duration::from_millis(50),
        keep_alive_timeout: Duration::from_millis(500),
        stream_idle_timeout: Duration::from_millis(100),
        write_timeout: Duration::from_millis(100),
        ..quick()
    };
    let server = start(limits);
    let mut stream = watch(&server, WatchRequest::default()).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    server.feed.tell(|| live(1, "a", MessageState::Stored));
    assert_eq!(change(&mut stream).await.id, id(1).to_string());
}
