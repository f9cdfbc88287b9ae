//! Properties of reading.

use std::collections::BTreeMap;

use w3bstream_types::Digest;

use super::{Builder, Probe, Violation, block, message, writes};
use crate::{ErrorKind, Vfs, Writes, tree};

/// A project that nothing was applied to has height 0, the root of nothing, and nothing to read.
///
/// # Errors
/// [`Violation`].
pub async fn a_new_project_is_empty(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe("a_new_project_is_empty");
    let vfs = builder.open().await;
    let project = probe.project("new");
    probe.same("the head", &probe.ok("head", vfs.head(project).await)?, &(0, tree::EMPTY_ROOT))?;
    probe.same("a value", &probe.ok("get", vfs.get(project, b"k").await)?, &None)?;
    probe.same("a scan", &probe.ok("scan", vfs.scan(project, b"", b"", 9).await)?, &vec![])?;
    for height in [0, 1] {
        probe.same("a result", &probe.ok("result", vfs.result(project, height).await)?, &None)?;
    }
    probe.same("an index", &probe.ok("outputs_of", vfs.outputs_of(project, message(1)).await)?, &None)
}

/// Two projects with the same keys, heights and messages see nothing of each other.
///
/// # Errors
/// [`Violation`].
pub async fn projects_are_apart(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe("projects_are_apart");
    let vfs = builder.open().await;
    let (a, b) = (probe.project("a"), probe.project("b"));
    let root_a =
        probe.apply(&*vfs, a, block(1, writes(&[("k", Some("of a")), ("only-a", Some("x"))]))).await?;
    let head_b = probe.ok("head", vfs.head(b).await)?;
    probe.same("b's head", &head_b, &(0, tree::EMPTY_ROOT))?;
    let mut other = block(1, writes(&[("k", Some("of b"))]));
    other.outputs.clear();
    other.index = vec![(message(1), 7, 8)];
    let root_b = probe.apply(&*vfs, b, other.clone()).await?;
    if root_a == root_b {
        return probe.fail("two projects with other values have one root");
    }
    for (project, value, root) in [(a, "of a", root_a), (b, "of b", root_b)] {
        let found = probe.ok("get", vfs.get(project, b"k").await)?;
        probe.same("the value", &found, &Some(value.as_bytes().to_vec()))?;
        probe.same("the head", &probe.ok("head", vfs.head(project).await)?, &(1, root))?;
    }
    let scanned = probe.ok("scan", vfs.scan(b, b"", b"", 9).await)?;
    probe.same("b's keys", &scanned, &vec![(b"k".to_vec(), b"of b".to_vec())])?;
    let result = probe.ok("result", vfs.result(b, 1).await)?;
    probe.same("b's result", &result, &Some((root_b, other.manifest, vec![])))?;
    let index = probe.ok("outputs_of", vfs.outputs_of(b, message(1)).await)?;
    probe.same("b's index", &index, &Some((1, 7, 8)))
}

fn scan_keys() -> Writes {
    let keys: [&[u8]; 13] = [
        b"a",
        b"a\x00",
        b"a\x00\x00",
        b"a\x7f",
        b"a\x80",
        b"a\xfe",
        b"a\xff",
        b"a\xff\x00",
        b"a\xff\xff",
        b"b",
        b"B",
        b"\xff",
        b"\xff\xff",
    ];
    keys.iter().map(|k| (k.to_vec(), Some([b"value of ", *k].concat()))).collect()
}

/// Scans give every key of the prefix above `after`, by rising bytes, up to the limit; the edges (0x00,
/// 0xff, upper case) lie where bytes lie and nowhere else.
///
/// # Errors
/// [`Violation`].
pub async fn scans_are_in_order_and_complete(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe("scans_are_in_order_and_complete");
    let vfs = builder.open().await;
    let project = probe.project("keys");
    let keys = scan_keys();
    probe.apply(&*vfs, project, block(1, keys.clone())).await?;
    let all: BTreeMap<Vec<u8>, Vec<u8>> = keys.into_iter().filter_map(|(k, v)| Some((k, v?))).collect();
    let prefixes: [&[u8]; 8] = [b"", b"a", b"a\x00", b"a\xff", b"\xff", b"\xff\xff", b"B", b"zz"];
    let afters: [&[u8]; 8] = [b"", b"\x00", b"a", b"a\x00", b"a\x81", b"a\xff\xff", b"\xff", b"\xff\xff\xff"];
    for prefix in prefixes {
        for after in afters {
            for limit in [0, 1, 3, 100] {
                let wanted: Vec<_> = all
                    .iter()
                    .filter(|(k, _)| k.starts_with(prefix) && (after.is_empty() || &k[..] > after))
                    .take(limit)
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect();
                let found = probe.ok("scan", vfs.scan(project, prefix, after, limit).await)?;
                let what = format!("scan of {prefix:x?} after {after:x?}, at most {limit},");
                probe.same(&what, &found, &wanted)?;
            }
        }
    }
    pages(probe, &*vfs, &all).await
}

/// Page by page, one gets every key once.
async fn pages(probe: Probe, vfs: &dyn Vfs, all: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<(), Violation> {
    let (mut after, mut seen) = (Vec::new(), Vec::new());
    for _ in 0..=all.len() {
        let page = probe.ok("scan", vfs.scan(probe.project("keys"), b"", &after, 2).await)?;
        let Some((last, _)) = page.last() else { break };
        after.clone_from(last);
        seen.extend(page);
    }
    let wanted: Vec<_> = all.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    probe.same("the keys page by page", &seen, &wanted)
}

/// After close every call is refused as `Closed`, closing again is fine, and what was applied is there when
/// the store is opened again.
///
/// # Errors
/// [`Violation`].
pub async fn a_closed_store_refuses(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe("a_closed_store_refuses");
    let vfs = builder.open().await;
    let project = probe.project("closed");
    let root = probe.apply(&*vfs, project, block(1, writes(&[("k", Some("v"))]))).await?;
    for _ in 0..2 {
        probe.ok("close", vfs.close().await)?;
    }
    let closed = ErrorKind::Closed;
    probe.kind("put_program after close", vfs.put_program(vec![1]).await, closed)?;
    probe.kind("program after close", vfs.program(Digest::of(&[1])).await, closed)?;
    probe.kind("head after close", vfs.head(project).await, closed)?;
    probe.kind("get after close", vfs.get(project, b"k").await, closed)?;
    probe.kind("scan after close", vfs.scan(project, b"", b"", 1).await, closed)?;
    probe.kind("apply after close", vfs.apply(project, block(2, Writes::new())).await, closed)?;
    probe.kind("result after close", vfs.result(project, 1).await, closed)?;
    probe.kind("outputs_of after close", vfs.outputs_of(project, message(1)).await, closed)?;
    drop(vfs);
    let again = builder.open().await;
    probe.same("the head after close", &probe.ok("head", again.head(project).await)?, &(1, root))
}
