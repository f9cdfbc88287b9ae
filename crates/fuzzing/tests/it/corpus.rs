//! The inputs in `fuzz/`, and what is made of them.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use w3bstream_fuzzing::{TARGETS, Target};

use crate::mutate::{Numbers, mutate};

pub(crate) const SEEDS: &str = "../../fuzz/seeds";
const REGRESSIONS: &str = "../../fuzz/regressions";
/// Bytes of all seeds.
const MOST_BYTES: usize = 300_000;

/// Names and contents of a target's files.
fn inputs(folder: &str, target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(folder).join(target.name);
    let Ok(entries) = std::fs::read_dir(&folder) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), std::fs::read(&path).unwrap()))
        .collect();
    found.sort();
    found
}

fn folders(folder: &str) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return BTreeSet::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Runs one input; says which it was if a promise is broken.
fn check(target: &Target, what: &str, bytes: &[u8]) -> Result<(), String> {
    let broken = |why: Box<dyn std::any::Any + Send>| {
        let why = why.downcast_ref::<String>().cloned().unwrap_or_else(|| "see above".to_owned());
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        format!("{}: {what}: {why}\n    in hex: {hex}", target.name)
    };
    catch_unwind(AssertUnwindSafe(|| target.check(bytes))).map_err(broken)
}

/// Runs `work` for all targets on two threads, and tells all that has failed.
fn for_all(work: impl Fn(&Target) -> Result<(), String> + Sync) {
    let (next, failed) = (Mutex::new(TARGETS.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(target) = next.lock().unwrap().next() else { return };
                    failed.lock().unwrap().extend(work(target).err());
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn every_seed_and_every_regression_keeps_the_promises() {
    for_all(|target| {
        let seeds = inputs(SEEDS, target);
        assert!(!seeds.is_empty(), "{} has no seeds; renew them as docs/fuzzing.md says", target.name);
        for (name, bytes) in seeds.into_iter().chain(inputs(REGRESSIONS, target)) {
            check(target, &name, &bytes)?;
        }
        check(target, "nothing", b"")
    });
}

#[test]
fn so_do_mutations_of_them() {
    for_all(|target| {
        let seeds: Vec<_> = inputs(SEEDS, target).into_iter().chain(inputs(REGRESSIONS, target)).collect();
        let mut numbers = Numbers::of(target.name);
        let start = Instant::now();
        for n in 0..target.mutations {
            let ((name, seed), (_, other)) =
                (&seeds[numbers.below(seeds.len())], &seeds[numbers.below(seeds.len())]);
            let bytes = mutate(seed, other, &mut numbers);
            check(target, &format!("mutation {n} of {name}"), &bytes)?;
        }
        println!(
            "{:>6} mutations in {:>6} ms: {}",
            target.mutations,
            start.elapsed().as_millis(),
            target.name
        );
        Ok(())
    });
}

#[test]
fn names_of_targets_seeds_and_binaries_agree() {
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names.len(), TARGETS.len(), "a name stands twice");
    assert_eq!(folders(SEEDS), names);
    let regressions = folders(REGRESSIONS);
    assert!(regressions.is_subset(&names), "{regressions:?}");
    let manifest: toml::Table = std::fs::read_to_string("../../fuzz/Cargo.toml").unwrap().parse().unwrap();
    let binaries = manifest["bin"].as_array().unwrap();
    let text = |bin: &toml::Value, key: &str| bin[key].as_str().unwrap().to_owned();
    assert_eq!(binaries.iter().map(|bin| text(bin, "name")).collect::<BTreeSet<_>>(), names);
    for bin in binaries {
        let source = std::fs::read_to_string(Path::new("../../fuzz").join(text(bin, "path"))).unwrap();
        assert!(source.contains(&format!("fuzz({:?}, bytes)", text(bin, "name"))), "{source}");
    }
}

#[test]
fn seeds_are_small() {
    let sizes = TARGETS.iter().flat_map(|target| inputs(SEEDS, target)).map(|(_, bytes)| bytes.len());
    let all: usize = sizes.sum();
    assert!(all <= MOST_BYTES, "{all} bytes of seeds");
}

#[test]
#[should_panic(expected = "it may take")]
fn a_target_that_takes_too_much_memory_is_noticed() {
    Target::new("greedy", |bytes| drop(Vec::<u8>::with_capacity(bytes.len() << 20))).check(b"four");
}
