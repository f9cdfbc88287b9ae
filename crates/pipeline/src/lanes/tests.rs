//! A block does the same on any number of threads.

mod world;

use std::time::{Duration, Instant};

use proptest::prelude::*;
use w3bstream_tasks::Tasks;
use w3bstream_types::{Canonical as _, OutputKind, ResultRecord, SourceId};
use w3bstream_vfs::{Writes, key};

use self::world::{Described, Given, World, did, manifest, shown};
use crate::crew::{Helpers, Pace};
use crate::segment::LaneDone;

/// A runtime, whose threads help.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

const TYPES: [&str; 5] = ["reading", "other", "left", "right", "default"];

fn applets() -> impl Strategy<Value = Vec<Described>> {
    let program = prop_oneof![
        6 => Just("counts"),
        3 => Just("counts too"),
        2 => Just("counts database"),
        2 => Just("reads database"),
        1 => Just("sends events"),
    ];
    let routes = proptest::sample::subsequence(TYPES.to_vec(), 1..=TYPES.len());
    proptest::collection::vec((program, any::<bool>(), routes), 1..5)
}

fn entry() -> impl Strategy<Value = Given> {
    let source = prop_oneof![4 => 10..16_u8, 1 => Just(9)];
    let message = (source, proptest::sample::select(&TYPES[..2]), 0..200_u8)
        .prop_map(|(source, event_type, payload)| Given::Message(source, event_type, payload));
    prop_oneof![20 => message, 1 => Just(Given::Deploy), 1 => (10..16_u8).prop_map(Given::Revoke)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_block_does_the_same_on_one_two_and_eight_threads(
        (applets, all_split, database, given) in
            (applets(), any::<bool>(), any::<bool>(), proptest::collection::vec(entry(), 0..25)),
    ) {
        let runtime = runtime();
        let _entered = runtime.enter();
        let split = |(program, split, routes): Described| (program, split || all_split, routes);
        let applets: Vec<Described> = applets.into_iter().map(split).collect();
        let world = World::new(&applets, database);
        let entries = world.entries(&given);
        let one = shown(&world.apply(1, &entries).unwrap());
        for threads in [2, 8] {
            let more = shown(&world.apply(threads, &entries).unwrap());
            prop_assert!(one == more, "on {threads} threads:\n{more}\ninstead of:\n{one}");
        }
    }

    #[test]
    fn a_block_does_what_its_entries_do_as_blocks_of_their_own(
        (applets, given) in (applets(), proptest::collection::vec(entry(), 0..25)),
    ) {
        let runtime = runtime();
        let _entered = runtime.enter();
        let mut world = World::new(&applets, false);
        let entries = world.entries(&given);
        let whole = world.apply(3, &entries).unwrap().applied;
        let (mut writes, mut outputs) = (Writes::new(), Vec::new());
        for entry in entries.iter() {
            let one = world.apply(1, &vec![entry.clone()].into()).unwrap();
            writes.extend(one.applied.writes.clone());
            outputs.extend(one.applied.outputs.clone());
            world = world.after(one);
        }
        prop_assert_eq!(whole.writes, writes);
        prop_assert_eq!(whole.outputs, outputs);
    }

    #[test]
    fn the_first_call_that_cannot_be_made_is_told_on_any_number_of_threads(
        (applets, payloads) in (applets(), proptest::collection::vec((10..16_u8, 196..201_u8), 1..20)),
    ) {
        let runtime = runtime();
        let _entered = runtime.enter();
        let world = World::new(&applets, true);
        let given: Vec<_> = payloads.iter().map(|(device, n)| Given::Message(*device, "reading", *n)).collect();
        let entries = world.entries(&given);
        let told = |threads| world.apply(threads, &entries).map(|e| shown(&e)).map_err(|e| format!("{e:?}"));
        let one = told(1);
        prop_assert_eq!(one.is_err(), payloads.iter().any(|p| p.1 == 200) && world.reaches("reading"));
        for threads in [2, 8] {
            prop_assert_eq!(&told(threads), &one);
        }
    }
}

impl World {
    fn reaches(&self, event_type: &str) -> bool {
        !self.manifest.routes(&event_type.parse().unwrap()).is_empty()
    }
}

fn many(payload: u8) -> Vec<Given> {
    (10..16).map(|device| Given::Message(device, "reading", payload)).collect()
}

const READING: &str = "reading";

#[test]
fn two_lanes_are_inside_their_handlers_at_the_same_moment() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let two: &[Described] = &[("counts", false, vec![READING]), ("counts", false, vec![READING])];
    let split: &[Described] = &[("counts", true, vec![READING])];
    let sends: &[Described] = &[("sends events", true, vec![READING])];
    let one: &[Described] = &[("counts", false, vec![READING])];
    // 202: the handlers wait until two are there.
    for (applets, given, most) in [
        (two, vec![Given::Message(10, READING, 202)], 2),
        (split, vec![Given::Message(10, READING, 202), Given::Message(9, READING, 202)], 2),
        (sends, vec![Given::Message(10, READING, 202), Given::Message(11, READING, 202)], 2),
    ] {
        let world = World::new(applets, false);
        world.apply(2, &world.entries(&given)).unwrap();
        assert_eq!(world.engine.inside.lock().unwrap().1, most, "{applets:?}");
    }
    // These must be in order: nobody comes while the first one waits, which is 100 ms here.
    let mixed: &[Described] = &[("sends events", true, vec![READING]), ("counts", false, vec!["left"])];
    let sql: &[Described] =
        &[("counts database", false, vec![READING]), ("reads database", false, vec![READING])];
    for (applets, threads) in [(one, 8), (mixed, 8), (sql, 8), (two, 1)] {
        let world = World::new(applets, true);
        let begun = Instant::now();
        world.apply(threads, &world.entries(&[203, 203].map(|n| Given::Message(10, READING, n)))).unwrap();
        let calls = 2 * applets.iter().filter(|a| a.2.contains(&READING)).count();
        assert!(begun.elapsed() >= Duration::from_millis(100) * u32::try_from(calls).unwrap(), "{applets:?}");
    }
}

#[test]
fn no_more_threads_than_are_set_are_in_handlers() {
    let runtime = runtime();
    let _entered = runtime.enter();
    for threads in [1, 2, 3] {
        let world = World::new(&[("counts", true, vec![READING])], false);
        world.apply(threads, &world.entries(&many(203))).unwrap();
        assert_eq!(world.engine.inside.lock().unwrap().1, threads);
    }
    // Two projects have a thread each, and one helper between them.
    let helpers = Helpers::new(2, Tasks::new("test"));
    let [a, mut b] = [0, 1].map(|_| World::new(&[("counts", true, vec![READING])], false));
    b.engine = a.engine.clone();
    let handle = runtime.handle().clone();
    std::thread::scope(|scope| {
        for world in [&a, &b] {
            let (helpers, handle) = (helpers.clone(), handle.clone());
            scope.spawn(move || {
                let _entered = handle.enter();
                world.apply_with(helpers, &world.entries(&many(203))).unwrap();
            });
        }
    });
    assert_eq!(a.engine.inside.lock().unwrap().1, 3);
}

#[test]
fn each_device_has_a_state_of_its_own_in_an_applet_that_is_split_by_device() {
    let world = World::new(&[("counts", true, vec![READING]), ("counts", false, vec![READING])], false);
    let given = [10, 11, 9, 10].map(|source| Given::Message(source, READING, 1));
    let writes = world.apply(1, &world.entries(&given)).unwrap().applied.writes;
    let [split, plain] = [0, 1].map(|n| world.manifest.applets[n].name.clone());
    let sum = |applet, part: &[u8]| writes.get(&key::guest(applet, part, b"sum")).cloned();
    let of = |source: SourceId| sum(&split, key::part_of(&source).as_bytes());
    let parts = [
        of(SourceId::Device(did(10))),
        of(SourceId::Device(did(11))),
        of(SourceId::Publisher("gate".parse().unwrap())),
    ];
    assert!(parts.iter().all(Option::is_some), "{writes:?}");
    assert_ne!(parts[0], parts[1]);
    assert_eq!((sum(&split, &[]), of(SourceId::Device(did(12)))), (None, None));
    assert!(sum(&plain, &[]).is_some());
}

#[test]
fn a_panic_in_a_lane_is_an_error_and_the_next_block_runs() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let world = World::new(&[("counts", true, vec![READING])], false);
    let helpers = Helpers::new(3, Tasks::new("test"));
    let mut given = many(3);
    given[4] = Given::Message(14, READING, 201);
    let why = world.apply_with(helpers.clone(), &world.entries(&given)).unwrap_err();
    assert!(why.to_string().contains("panicked"), "{why}");
    let done = world.apply_with(helpers, &world.entries(&many(3))).unwrap();
    assert_eq!(done.applied.index.len(), 6);
}

#[test]
fn an_event_of_a_program_that_was_said_to_send_none_ends_the_block() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let world = World::new(&[("lies", true, vec![READING])], false);
    let given: Vec<_> = (0..4).flat_map(|_| many(1)).collect();
    let why = world.apply(2, &world.entries(&given)).unwrap_err();
    assert!(why.to_string().contains("was said to send none"), "{why}");
}

#[test]
fn a_program_that_is_gone_is_an_error_where_its_turn_is() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let applets: &[Described] = &[("counts", false, vec![READING]), ("counts too", false, vec!["other"])];
    let world = World::new(applets, false).without("counts too");
    let told =
        |given: &[Given], threads| world.apply(threads, &world.entries(given)).unwrap_err().to_string();
    let gone = [Given::Message(10, READING, 1), Given::Message(10, "other", 1)];
    assert!(told(&gone, 1).contains("no program") && told(&gone, 1) == told(&gone, 8), "{}", told(&gone, 8));
    let first = [Given::Message(10, READING, 200), Given::Message(10, "other", 1)];
    assert_eq!(told(&first, 1), told(&first, 8));
    assert!(!told(&first, 8).contains("no program"), "{}", told(&first, 8));
}

#[test]
fn a_project_that_keeps_all_helpers_busy_does_not_keep_another_one_waiting() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let helpers = Helpers::new(2, Tasks::new("test"));
    let [slow, quick] = [0, 1].map(|_| World::new(&[("counts", true, vec![READING])], false));
    // 100 ms a call: 30 lanes on two threads are more than 1.5 s.
    let given: Vec<_> = (0..5).flat_map(|_| many(203)).collect();
    let (slow_entries, quick_entries) = (slow.entries(&given), quick.entries(&many(1)));
    let handle = runtime.handle().clone();
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            let _entered = handle.enter();
            let begun = Instant::now();
            slow.apply_with(helpers.clone(), &slow_entries).unwrap();
            begun.elapsed()
        });
        std::thread::sleep(Duration::from_millis(50));
        let mut worst = Duration::ZERO;
        for _ in 0..20 {
            let begun = Instant::now();
            quick.apply_with(helpers.clone(), &quick_entries).unwrap();
            worst = worst.max(begun.elapsed());
        }
        assert!(!busy.is_finished(), "the slow one is under way");
        let took = busy.join().unwrap();
        assert!(took >= Duration::from_millis(1500), "{took:?}");
        // A call of the other project takes 100 ms; ours have waited for none of them.
        assert!(worst < Duration::from_millis(90), "{worst:?}");
    });
}

#[test]
fn a_partition_cannot_change_under_an_applet() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let world = World::new(&[("counts", false, vec![READING]), ("counts", false, vec![READING])], false);
    let mut next = manifest(2, &[("counts", true, vec![READING])], false);
    assert!(next.keeps_partitions(&world.manifest).is_err());
    next.applets[0].name = "new".parse().unwrap();
    next.keeps_partitions(&world.manifest).unwrap();
    let entries = world.entries(&[Given::Split, Given::Message(10, READING, 1)]);
    let outputs = world.apply(2, &entries).unwrap().applied.outputs;
    let control = outputs.iter().find(|o| o.kind == OutputKind::Control).unwrap();
    let why = String::from_utf8(control.data.clone()).unwrap();
    assert!(why.contains("a0 has partition = \"none\" and cannot get \"device\""), "{why}");
    let results = outputs.iter().filter(|o| o.kind == OutputKind::Result);
    assert_eq!(results.filter_map(|o| ResultRecord::from_canonical(&o.data).ok()).count(), 2);
}

#[test]
fn quick_calls_are_worth_no_help_and_unknown_ones_are() {
    let described = ["counts", "counts too", "counts"].map(|program| (program, false, vec!["reading"]));
    let manifest = manifest(1, &described, false);
    let pace = Pace::default();
    let spent = |micros: u64| (Duration::from_micros(micros * 10), 10);
    let done = LaneDone { spent: [(0, spent(30)), (1, spent(300))].into(), ..LaneDone::default() };
    pace.learn(&manifest, &[done]);
    assert_eq!(pace.of(&manifest), [0, 300_000, 200_000]);
}
