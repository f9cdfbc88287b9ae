//! Properties of applying blocks.

use std::collections::BTreeMap;

use w3bstream_types::{Digest, Output, OutputKind, ProjectId};

use super::{Builder, Numbers, Probe, Violation, block, message, writes};
use crate::{Applied, ErrorKind, MAX_KEY_BYTES, Vfs, Writes, key, tree};

/// The writes of a block, as [`writes`] takes them.
type Changes<'c> = &'c [(&'c str, Option<&'c str>)];

fn root_of(entries: &BTreeMap<Vec<u8>, Vec<u8>>) -> Digest {
    tree::root_of(entries.iter().map(|(k, v)| (&k[..], &v[..])))
}

/// Everything that a scan gives.
async fn entries(
    probe: Probe,
    vfs: &dyn Vfs,
    project: ProjectId,
) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Violation> {
    Ok(probe.ok("scan", vfs.scan(project, b"", b"", usize::MAX).await)?.into_iter().collect())
}

/// The root is that of the keys and values, whatever came when: written at once, one by one, in another
/// order, with detours, or deleted and written again. An empty value is a value; a block without writes
/// keeps the root; a state without keys has the root of nothing.
///
/// # Errors
/// [`Violation`].
pub async fn the_root_is_that_of_the_entries(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe("the_root_is_that_of_the_entries");
    let vfs = builder.open().await;
    let histories: [&[Changes<'_>]; 4] = [
        &[&[("a", Some("1")), ("b", Some("")), ("c", Some("3"))]],
        &[&[("c", Some("3"))], &[("b", Some(""))], &[], &[("a", Some("1"))]],
        &[
            &[("a", Some("9")), ("d", Some("4")), ("c", Some("3"))],
            &[("a", Some("1")), ("d", None), ("b", Some(""))],
        ],
        &[
            &[("a", Some("1")), ("b", Some("")), ("c", Some("3"))],
            &[("a", None), ("b", None), ("c", None), ("x", None)],
            &[("b", Some("")), ("a", Some("1"))],
            &[("c", Some("3")), ("x", None)],
        ],
    ];
    let wanted = tree::root_of([(&b"a"[..], &b"1"[..]), (b"b", b""), (b"c", b"3")]);
    for (i, history) in histories.into_iter().enumerate() {
        let project = probe.project(&i.to_string());
        let mut state = BTreeMap::new();
        for (height, changes) in (1..).zip(history) {
            for (key, value) in writes(changes) {
                match value {
                    Some(value) => state.insert(key, value),
                    None => state.remove(&key),
                };
            }
            let root = probe.apply(&*vfs, project, block(height, writes(changes))).await?;
            probe.same(&format!("history {i}: the root of height {height}"), &root, &root_of(&state))?;
            probe.same("the head", &probe.ok("head", vfs.head(project).await)?, &(height, root))?;
            probe.same("the entries", &entries(probe, &*vfs, project).await?, &state)?;
        }
        probe.same(&format!("history {i}: the last root"), &root_of(&state), &wanted)?;
    }
    Ok(())
}

/// A value of any namespace, be it the guests' or the registry's, changes the root.
///
/// # Errors
/// [`Violation`].
pub async fn the_root_covers_every_namespace(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe("the_root_covers_every_namespace");
    let vfs = builder.open().await;
    let project = probe.project("all");
    let device = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp";
    let (Ok(applet), Ok(did), Ok(publisher)) = ("applet".parse(), device.parse(), "publisher".parse()) else {
        return probe.fail("the kit's own names are wrong");
    };
    let keys = [
        key::guest(&applet, b"", b"name"),
        key::guest(&applet, b"partition", b"name"),
        key::manifest(),
        key::device(&did),
        key::revoked_device(&did),
        key::window(&did),
        key::publisher(&publisher),
        key::token(&Digest::of(b"token")),
        key::control_nonce(),
    ];
    let (mut height, mut last) = (0, tree::EMPTY_ROOT);
    for value in ["first", "second"] {
        for key in &keys {
            height += 1;
            let change = Writes::from([(key.clone(), Some(value.as_bytes().to_vec()))]);
            let root = probe.apply(&*vfs, project, block(height, change)).await?;
            if root == last {
                return probe.fail(format!("the root does not cover the key {key:x?}"));
            }
            last = root;
        }
    }
    probe.same("the last root", &last, &root_of(&entries(probe, &*vfs, project).await?))
}

/// Applying a height again gives its root and changes nothing, be it the newest or an older one, and even
/// if other things are passed.
///
/// # Errors
/// [`Violation`].
pub async fn apply_is_idempotent(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe("apply_is_idempotent");
    let vfs = builder.open().await;
    let project = probe.project("repeat");
    let blocks =
        [block(1, writes(&[("a", Some("1"))])), block(2, writes(&[("a", Some("2")), ("b", Some("2"))]))];
    let mut roots = Vec::new();
    for applied in &blocks {
        roots.push(probe.apply(&*vfs, project, applied.clone()).await?);
    }
    let before = entries(probe, &*vfs, project).await?;
    let mut other = block(2, writes(&[("a", Some("other")), ("c", Some("other"))]));
    other.manifest = Digest::of(b"other");
    other.outputs.clear();
    other.index = vec![(message(99), 0, 1)];
    for (applied, root) in [(&blocks[1], roots[1]), (&blocks[0], roots[0]), (&other, roots[1])] {
        let height = applied.height;
        let again = probe.apply(&*vfs, project, applied.clone()).await?;
        probe.same(&format!("the root of height {height}, applied again,"), &again, &root)?;
        probe.same("the head", &probe.ok("head", vfs.head(project).await)?, &(2, roots[1]))?;
        probe.same("the entries", &entries(probe, &*vfs, project).await?, &before)?;
        for (applied, root) in blocks.iter().zip(&roots) {
            let wanted = Some((*root, applied.manifest, applied.outputs.clone()));
            let found = probe.ok("result", vfs.result(project, applied.height).await)?;
            probe.same("the result", &found, &wanted)?;
        }
    }
    let found = probe.ok("outputs_of", vfs.outputs_of(project, message(99)).await)?;
    probe.same("the index of a message that was not applied", &found, &None)
}

/// Two that apply the same heights at once both get every root, and it is applied once.
///
/// # Errors
/// [`Violation`].
pub async fn applies_at_once_agree(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe("applies_at_once_agree");
    let vfs = builder.open().await;
    let project = probe.project("race");
    let one = || -> Result<Vec<Digest>, Violation> {
        super::block_on(async {
            let mut roots = Vec::new();
            for height in 1..=10 {
                let value = height.to_string();
                let change = writes(&[("count", Some(&value)), (&value, Some("x"))]);
                roots.push(probe.apply(&*vfs, project, block(height, change)).await?);
            }
            Ok(roots)
        })
    };
    let found: Vec<_> = std::thread::scope(|scope| {
        let threads = [scope.spawn(one), scope.spawn(one), scope.spawn(one)];
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| probe.fail("apply panicked"))).collect()
    });
    let mut found = found.into_iter().collect::<Result<Vec<_>, _>>()?;
    found.dedup();
    probe.same("the number of different answers", &found.len(), &1)?;
    let (height, root) = probe.ok("head", vfs.head(project).await)?;
    probe.same("the height", &height, &10)?;
    probe.same("the root", &root, &root_of(&entries(probe, &*vfs, project).await?))
}

/// A height that is neither the next nor an applied one is `WrongHeight`, and nothing changes.
///
/// # Errors
/// [`Violation`].
pub async fn a_gap_in_heights_is_refused(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe("a_gap_in_heights_is_refused");
    let vfs = builder.open().await;
    let project = probe.project("gap");
    let mut head = (0, tree::EMPTY_ROOT);
    for next in [1, 2, 3] {
        for wrong in [0, next + 1, next + 5, u64::MAX] {
            let result = vfs.apply(project, block(wrong, writes(&[("gap", Some("x"))]))).await;
            probe.kind(&format!("height {wrong} on {}", head.0), result, ErrorKind::WrongHeight)?;
            probe.same("the head", &probe.ok("head", vfs.head(project).await)?, &head)?;
            probe.same("a value", &probe.ok("get", vfs.get(project, b"gap").await)?, &None)?;
            probe.same("a result", &probe.ok("result", vfs.result(project, wrong).await)?, &None)?;
        }
        head = (next, probe.apply(&*vfs, project, block(next, writes(&[("k", Some("v"))]))).await?);
    }
    Ok(())
}

/// A block of which one write is over the limits is refused as a whole, and the height can be applied then.
///
/// # Errors
/// [`Violation`].
pub async fn a_failed_apply_changes_nothing(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe("a_failed_apply_changes_nothing");
    let vfs = builder.open().await;
    let project = probe.project("large");
    let most = vec![b'k'; MAX_KEY_BYTES];
    let mut change = writes(&[("a", Some("1"))]);
    change.insert([&most[..], b"k"].concat(), Some(vec![]));
    probe.kind("a key over the limit", vfs.apply(project, block(1, change)).await, ErrorKind::TooLarge)?;
    probe.same("the head", &probe.ok("head", vfs.head(project).await)?, &(0, tree::EMPTY_ROOT))?;
    probe.same("a value", &probe.ok("get", vfs.get(project, b"a").await)?, &None)?;
    let big = vec![7; 1_000_000];
    let change = Writes::from([(most.clone(), Some(big.clone()))]);
    probe.apply(&*vfs, project, block(1, change)).await?;
    probe.same("a value at the limit of keys", &probe.ok("get", vfs.get(project, &most).await)?, &Some(big))
}

/// Root, manifest and outputs of every height, and which outputs are about which message, are kept; for a
/// message that two heights name, the first counts.
///
/// # Errors
/// [`Violation`].
pub async fn results_are_kept(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe("results_are_kept");
    let project = probe.project("results");
    let output = |n: u8| Output {
        kind: OutputKind::Mqtt,
        chain_id: u64::MAX,
        target: vec![n; 3],
        data: vec![0xff; usize::from(n) * 1000],
    };
    let outputs = [vec![], vec![output(1)], (0..40).map(output).collect()];
    let mut wanted = Vec::new();
    let vfs = builder.open().await;
    for (height, outputs) in (1..).zip(outputs) {
        let mut applied: Applied = block(height, writes(&[("k", Some("v"))]));
        applied.index = vec![(message(height), 0, height), (message(1000), height, 1)];
        applied.outputs = outputs;
        let root = probe.apply(&*vfs, project, applied.clone()).await?;
        wanted.push((height, (root, applied.manifest, applied.outputs)));
    }
    drop(vfs);
    let vfs = builder.open().await;
    for (height, result) in wanted {
        let found = probe.ok("result", vfs.result(project, height).await)?;
        probe.same(&format!("the result of height {height}"), &found, &Some(result))?;
        let found = probe.ok("outputs_of", vfs.outputs_of(project, message(height)).await)?;
        probe.same("the index", &found, &Some((height, 0, height)))?;
    }
    probe.same(
        "the result of a height to come",
        &probe.ok("result", vfs.result(project, 4).await)?,
        &None,
    )?;
    let found = probe.ok("outputs_of", vfs.outputs_of(project, message(1000)).await)?;
    probe.same("the index of a message named three times", &found, &Some((1, 1, 1)))
}

/// What apply has answered is there after a restart without a close, down to the nodes that the next root
/// is computed from.
///
/// # Errors
/// [`Violation`].
pub async fn the_state_survives_a_reopen(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe("the_state_survives_a_reopen");
    let project = probe.project("reopen");
    let mut wanted = BTreeMap::new();
    for height in 1..=4_u64 {
        let vfs = builder.open().await;
        probe.same("the entries", &entries(probe, &*vfs, project).await?, &wanted)?;
        let head = (height - 1, root_of(&wanted));
        probe.same("the head", &probe.ok("head", vfs.head(project).await)?, &head)?;
        let change: Writes = (0..50)
            .map(|n| (vec![1, n], (u64::from(n) % 4 != height % 4).then(|| vec![n, height as u8])))
            .collect();
        for (key, value) in &change {
            match value {
                Some(value) => wanted.insert(key.clone(), value.clone()),
                None => wanted.remove(key),
            };
        }
        let root = probe.apply(&*vfs, project, block(height, change)).await?;
        probe.same("the root", &root, &root_of(&wanted))?;
    }
    Ok(())
}

/// A hundred blocks of random writes, with restarts between, give what a plain map gives.
///
/// # Errors
/// [`Violation`].
pub async fn a_model_agrees(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe("a_model_agrees");
    let project = probe.project("model");
    let (mut numbers, mut model) = (Numbers(7), BTreeMap::new());
    let mut vfs = builder.open().await;
    for height in 1..=100 {
        let change = numbers.writes(20);
        for (key, value) in &change {
            match value {
                Some(value) => model.insert(key.clone(), value.clone()),
                None => model.remove(key),
            };
        }
        let root = probe.apply(&*vfs, project, block(height, change.clone())).await?;
        probe.same(&format!("the root of height {height}"), &root, &root_of(&model))?;
        for key in change.keys() {
            let found = probe.ok("get", vfs.get(project, key).await)?;
            probe.same("a value", &found, &model.get(key).cloned())?;
        }
        if numbers.below(10) == 0 {
            drop(vfs);
            vfs = builder.open().await;
        }
    }
    probe.same("the entries", &entries(probe, &*vfs, project).await?, &model)
}
