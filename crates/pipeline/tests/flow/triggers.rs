//! Triggers: what chains and schedules tell becomes messages, each once, whatever happens in between.

use w3bstream_chain_dev::{Fate, dev_key};
use w3bstream_pipeline::TriggerStatus;
use w3bstream_types::{
    Address, CronTrigger, HeightTrigger, LogTrigger, Missed, SourceId, Stored, TransactionTrigger, Trigger,
    TriggerMessage, TriggerOn, Verified, Word,
};

use super::*;

const EVENT: &str = "Noted(bytes)";

/// A contract that emits what it is called with, under [`EVENT`]'s topic.
fn emitter() -> Vec<u8> {
    let event: w3bstream_types::EventSignature = EVENT.parse().unwrap();
    // CALLDATACOPY(0, 0, size); LOG1(0, size, topic).
    let runtime =
        [&[0x36, 0x60, 0, 0x60, 0, 0x37, 0x7f], &event.topic()[..], &[0x36, 0x60, 0, 0xa1, 0]].concat();
    let size = u8::try_from(runtime.len()).unwrap();
    [&[0x60, size, 0x80, 0x60, 11, 0x60, 0, 0x39, 0x60, 0, 0xf3], &runtime[..]].concat()
}

pub(super) fn trigger(name: &str, on: TriggerOn) -> Trigger {
    Trigger { name: name.parse().unwrap(), event_type: "seen".parse().unwrap(), on }
}

impl World {
    fn emitter(&self) -> Address {
        self.chain.transact(&dev_key(0), None, emitter()).unwrap().created.unwrap()
    }

    /// Emits an event with this byte; gives its transaction and height.
    fn emit(&self, contract: Address, byte: u8) -> (Word, u64) {
        let receipt = self.chain.transact(&dev_key(0), Some(contract), vec![byte]).unwrap();
        (Word(*receipt.transaction.as_bytes()), receipt.number)
    }

    pub(super) async fn deploy_triggers(&self, run: &Run, version: u64, triggers: Vec<Trigger>) -> ProjectId {
        let manifest = Manifest { version, triggers, ..self.manifest(AckMode::Durable, &["count"]) };
        let project = manifest.project();
        run.pipeline.put_program(b"count".to_vec()).await.unwrap();
        self.change(run, project, Control::Deploy(Box::new(manifest))).await.unwrap();
        project
    }

    /// What triggers told, in the order in which it was stored.
    pub(super) async fn told(&self) -> Vec<Stored> {
        let store = w3bstream_storage::Store::new(Arc::new(self.storage.reopen()));
        let all = store.scan(&Filter::default(), Position(0), 10_000).await.unwrap();
        all.into_iter().filter(|s| matches!(s.record().source(), SourceId::Trigger(_))).collect()
    }

    /// Waits for so many messages of triggers, and sees that no more come.
    async fn told_at_least(&self, wanted: usize) -> Vec<Stored> {
        for _ in 0..1000 {
            if self.told().await.len() >= wanted {
                tokio::time::sleep(Duration::from_millis(60)).await;
                return self.told().await;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} of {wanted} messages of triggers came", self.told().await.len());
    }
}

impl Run {
    fn trigger(&self, name: &str) -> TriggerStatus {
        let all = self.pipeline.projects()[0].triggers.clone();
        all.iter().find(|t| t.name.as_str() == name).unwrap_or_else(|| panic!("{name} in {all:?}")).clone()
    }

    async fn shows(&self, name: &str, wanted: impl Fn(&TriggerStatus) -> bool) -> TriggerStatus {
        for _ in 0..500 {
            let all = self.pipeline.projects()[0].triggers.clone();
            if let Some(found) = all.into_iter().find(|t| t.name.as_str() == name && wanted(t)) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{name} is {:?}", self.trigger(name));
    }
}

fn json(stored: &Stored) -> serde_json::Value {
    serde_json::from_slice(stored.record().payload()).unwrap()
}

/// The events' bytes, with a minus for those that were taken back.
fn bytes(told: &[Stored]) -> Vec<i64> {
    let one = |stored: &Stored| {
        let log = json(stored);
        let byte = i64::from_str_radix(log["data"].as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
        if log["removed"].as_bool().unwrap() { -byte } else { byte }
    };
    told.iter().map(one).collect()
}

fn logs(contract: Address, confirmations: u32) -> LogTrigger {
    LogTrigger {
        chain_id: 31_337,
        contract,
        event: Some(EVENT.parse().unwrap()),
        topics: vec![],
        start_block: Some(0),
        end_block: None,
        confirmations,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_contract_are_messages_each_once_also_those_of_a_downtime() {
    let world = World::new();
    let (contract, other) = (world.emitter(), world.emitter());
    let (first, height) = world.emit(contract, 1);
    world.emit(other, 99);
    let run = world.start().await;
    let project =
        world.deploy_triggers(&run, 1, vec![trigger("notes", TriggerOn::Log(logs(contract, 2)))]).await;
    let told = world.told_at_least(1).await;
    assert_eq!(bytes(&told), [1], "and nothing of another contract, and nothing unconfirmed");
    let log = json(&told[0]);
    assert_eq!(log["transactionHash"], first.to_string());
    assert_eq!(log["blockNumber"], format!("0x{height:x}"));
    assert_eq!(log["transactionIndex"], "0x0");
    let states = run.reaches(told[0].record().id(), MessageState::Attested).await;
    assert!(!states.contains(&MessageState::Rejected), "{states:?}");

    world.emit(contract, 2);
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(bytes(&world.told().await), [1], "one confirmation is not enough");
    world.chain.mine();
    assert_eq!(bytes(&world.told_at_least(2).await), [1, 2]);
    let status = run.shows("notes", |t| t.told == 2).await;
    assert_eq!((status.kind, status.chain, status.reason.as_str()), ("log", Some(31_337), ""));

    run.stop().await;
    for byte in 3..=20 {
        world.emit(contract, byte);
    }
    let run = world.start().await;
    let told = world.told_at_least(19).await;
    assert_eq!(bytes(&told), (1..=19).collect::<Vec<_>>(), "the last one is not confirmed");

    // As if the node had died before it wrote how far it was: everything is made again, and nothing is new.
    run.stop().await;
    forget(&world, project, "notes").await;
    let run = world.start().await;
    world.chain.mine();
    let told = world.told_at_least(20).await;
    assert_eq!(bytes(&told), (1..=20).collect::<Vec<_>>());
    run.shows("notes", |t| t.told == 20).await;
    run.reaches(told[19].record().id(), MessageState::Attested).await;
    assert_eq!(run.pipeline.projects()[0].counters["w3b_messages_duplicate_total"], 19);
    let receipt =
        run.pipeline.receipt(told[0].record().id(), ReceiptContent { payload: true, settlements: false });
    assert!(receipt.await.unwrap().verify(None).first_broken().is_none());
    run.stop().await;
}

/// Removes the record that says how far a trigger is.
async fn forget(world: &World, project: ProjectId, name: &str) {
    use w3bstream_journal::{Journal as _, RecordId, Write};
    let id = RecordId { project, space: "triggers", key: format!("log:{name}").into_bytes() };
    let journal = world.journal.reopen();
    assert!(journal.record(&id).await.unwrap().is_some());
    journal.commit(vec![Write::Record(id, None)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reorganisation_replaces_is_not_told_or_taken_back() {
    let world = World::new();
    let contract = world.emitter();
    let run = world.start().await;
    world.deploy_triggers(&run, 1, vec![trigger("notes", TriggerOn::Log(logs(contract, 3)))]).await;
    world.emit(contract, 1);
    world.chain.mine();
    tokio::time::sleep(Duration::from_millis(60)).await;
    world.chain.reorg(2, Fate::Dropped);
    for _ in 0..5 {
        world.chain.mine();
    }
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(bytes(&world.told().await), [0_i64; 0], "it never had three confirmations");

    world.emit(contract, 2);
    world.chain.mine();
    world.emit(contract, 3);
    for _ in 0..3 {
        world.chain.mine();
    }
    assert_eq!(bytes(&world.told_at_least(2).await), [2, 3]);
    // Deeper than the confirmations: the second event is gone, the first one stays.
    world.chain.reorg(4, Fate::Dropped);
    world.emit(contract, 4);
    for _ in 0..4 {
        world.chain.mine();
    }
    let told = world.told_at_least(4).await;
    assert_eq!(bytes(&told), [2, 3, -3, 4]);
    // The same is found when the node was down meanwhile.
    run.stop().await;
    world.chain.reorg(5, Fate::Dropped);
    for _ in 0..5 {
        world.chain.mine();
    }
    let run = world.start().await;
    let told = world.told_at_least(5).await;
    assert_eq!(bytes(&told), [2, 3, -3, 4, -4]);
    for stored in &told {
        run.reaches(stored.record().id(), MessageState::Attested).await;
    }
    assert_eq!(run.trigger("notes").reason, "");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heights_and_transactions_are_told_when_they_are_deep_enough() {
    let world = World::new();
    let contract = world.emitter();
    let run = world.start().await;
    let (hash, number) = world.emit(contract, 7);
    let height =
        |every| TriggerOn::Height(HeightTrigger { chain_id: 31_337, height: 4, every, confirmations: 2 });
    let paid = TransactionTrigger { chain_id: 31_337, hash, confirmations: 3 };
    let triggers = vec![
        trigger("once", height(None)),
        trigger("again", height(Some(3))),
        trigger("paid", TriggerOn::Transaction(paid.clone())),
        trigger("elsewhere", TriggerOn::Transaction(TransactionTrigger { chain_id: 1, ..paid })),
    ];
    world.deploy_triggers(&run, 1, triggers).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(world.told().await, []);
    while world.chain.height() < 11 {
        world.chain.mine();
    }
    let told = world.told_at_least(5).await;
    let of = |name: &str| -> Vec<serde_json::Value> {
        let source = SourceId::Trigger(name.parse().unwrap());
        told.iter().filter(|s| s.record().source() == source).map(json).collect()
    };
    let heights =
        |name: &str| of(name).iter().map(|v| v["HeaderNumber"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(heights("once"), [4]);
    assert_eq!(heights("again"), [4, 7, 10]);
    let paid = &of("paid")[..];
    assert_eq!(paid.len(), 1);
    assert_eq!((&paid[0]["hash"], &paid[0]["input"]), (&hash.to_string().into(), &"0x07".into()));
    assert_eq!(paid[0]["blockNumber"], format!("0x{number:x}"));
    assert!(run.trigger("once").done && run.trigger("paid").done && !run.trigger("again").done);
    let elsewhere = run.shows("elsewhere", |t| !t.reason.is_empty()).await;
    assert!(elsewhere.reason.contains("[[chains]]") && elsewhere.reason.contains("id = 1"), "{elsewhere:?}");
    for stored in &told {
        run.reaches(stored.record().id(), MessageState::Attested).await;
    }
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moments_of_a_schedule_are_told_once_and_never_before_their_time() {
    let world = World::new();
    let run = world.start().await;
    let cron = |missed| TriggerOn::Cron(CronTrigger { schedule: "0 * * * *".into(), missed });
    let triggers = vec![trigger("last", cron(Missed::Last)), trigger("all", cron(Missed::All))];
    world.deploy_triggers(&run, 1, triggers).await;
    run.shows("all", |t| t.next.is_some()).await;
    run.shows("last", |t| t.next.is_some()).await;
    assert_eq!(world.told().await, [], "no hour began");
    run.stop().await;
    // Three and a bit hours later, so that three or four have begun.
    const HOUR: u64 = 3_600_000;
    let before = world.clock.now().0;
    world.clock.0.fetch_add(3 * HOUR + HOUR / 2, Ordering::SeqCst);
    let run = world.start().await;
    let hours = (world.clock.now().0 / HOUR - before / HOUR) as usize;
    assert!((3..=4).contains(&hours));
    let told = world.told_at_least(hours + 1).await;
    let of = |name: &str| -> Vec<u64> {
        let source = SourceId::Trigger(name.parse().unwrap());
        let mine = told.iter().filter(|s| s.record().source() == source);
        mine.map(|s| json(s)["Timestamp"].as_u64().unwrap()).collect()
    };
    let expected: Vec<u64> = (1..=hours as u64).map(|n| (before / HOUR + n) * HOUR).collect();
    assert_eq!(of("all"), expected);
    assert_eq!(of("last"), expected[hours - 1..]);
    for stored in &told {
        run.reaches(stored.record().id(), MessageState::Attested).await;
    }
    for stored in &told {
        let id = stored.record().id();
        let content = ReceiptContent { payload: false, settlements: false };
        let block = run.pipeline.receipt(id, content).await.unwrap().ordering.header.time;
        assert!(block >= stored.record().time(), "{block:?} is before {stored:?}");
    }
    // One that a wrong clock put into the store: it is ordered, and no handler sees it.
    run.stop().await;
    let manifest = run_manifest(&world, "last", cron(Missed::Last));
    let early = TriggerMessage {
        project: manifest.project(),
        trigger: "last".parse().unwrap(),
        event_id: "early".into(),
        event_type: "seen".parse().unwrap(),
        time: Timestamp(world.clock.now().0 + HOUR),
        payload: vec![],
    };
    let store = w3bstream_storage::Store::new(Arc::new(world.storage.reopen()));
    let early = Verified::by_trigger(early, &manifest, Timestamp(1)).unwrap();
    let id = early.record().id();
    store.append(vec![early]).await.unwrap();
    let run = world.start().await;
    let states = run.reaches(id, MessageState::Rejected).await;
    assert!(!states.contains(&MessageState::Executed), "{states:?}");
    run.stop().await;
}

fn run_manifest(world: &World, name: &str, on: TriggerOn) -> Manifest {
    Manifest { triggers: vec![trigger(name, on)], ..world.manifest(AckMode::Durable, &["count"]) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_that_the_manifest_loses_tells_nothing_more() {
    let world = World::new();
    let contract = world.emitter();
    let run = world.start().await;
    let notes = trigger("notes", TriggerOn::Log(logs(contract, 1)));
    let project = world.deploy_triggers(&run, 1, vec![notes.clone()]).await;
    world.emit(contract, 1);
    world.told_at_least(1).await;
    world.deploy_triggers(&run, 2, vec![]).await;
    // Until the deployment is applied, events are stored, and rejected by the block that has them.
    for _ in 0..500 {
        if run.pipeline.projects()[0].triggers.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.emit(contract, 2);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(bytes(&world.told().await), [1]);
    assert_eq!(run.pipeline.projects()[0].triggers, []);
    // The same trigger again goes on where it was; another one of its name begins anew.
    world.deploy_triggers(&run, 3, vec![notes]).await;
    assert_eq!(bytes(&world.told_at_least(2).await), [1, 2]);
    let late = LogTrigger { start_block: Some(world.chain.height() + 1), ..logs(contract, 1) };
    world.deploy_triggers(&run, 4, vec![trigger("notes", TriggerOn::Log(late))]).await;
    run.shows("notes", |t| t.told == 0 && t.next.is_some()).await;
    world.emit(contract, 3);
    assert_eq!(bytes(&world.told_at_least(3).await), [1, 2, 3]);
    // A schedule that is none is refused before it is ordered.
    let cron = TriggerOn::Cron(CronTrigger { schedule: "often".into(), missed: Missed::Last });
    let manifest = Manifest {
        version: 5,
        triggers: vec![trigger("bad", cron)],
        ..world.manifest(AckMode::Durable, &["count"])
    };
    let refused = world.change(&run, project, Control::Deploy(Box::new(manifest))).await.unwrap_err();
    assert!(refused.contains("bad") && refused.contains("often"), "{refused}");
    run.stop().await;
}
