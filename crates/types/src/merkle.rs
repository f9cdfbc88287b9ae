//! Merkle trees of RFC 6962 §2.1 over SHA-256: leaves are prefixed 0x00, inner nodes 0x01.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{Digest, Invalid};

/// The hash of a leaf with this data.
#[must_use]
pub fn leaf_hash(data: &[u8]) -> Digest {
    let mut hash = Sha256::new();
    hash.update([0]);
    hash.update(data);
    Digest::from_bytes(hash.finalize().into())
}

fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut hash = Sha256::new();
    hash.update([1]);
    hash.update(left.as_bytes());
    hash.update(right.as_bytes());
    Digest::from_bytes(hash.finalize().into())
}

/// The largest power of two below `n` (n ≥ 2): where RFC 6962 splits a tree.
const fn split(n: usize) -> usize {
    n.next_power_of_two() / 2
}

/// The root over leaf hashes; SHA-256 of nothing for an empty list.
#[must_use]
pub fn root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest::of(&[]),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&root(left), &root(right))
        }
    }
}

/// The audit path of leaf `index`, from the leaf up. `None` if there is no such leaf.
#[must_use]
pub fn path(leaves: &[Digest], index: usize) -> Option<Vec<Digest>> {
    if index >= leaves.len() {
        return None;
    }
    if leaves.len() == 1 {
        return Some(Vec::new());
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut steps, sibling) = if index < left.len() {
        (path(left, index)?, root(right))
    } else {
        (path(right, index - left.len())?, root(left))
    };
    steps.push(sibling);
    Some(steps)
}

/// One step of a path whose sides are named: what stands beside the node on the way to the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// The left sibling.
    Left(Digest),
    /// The right sibling.
    Right(Digest),
}

/// The path of leaf `index`, from the leaf up, with its sides. `None` if there is no such leaf.
///
/// Unlike [`path`] it is checked without the size of the tree. Where nobody has signed a size that is all that
/// can be known: leaf 0 of 3 and leaf 0 of 4 have paths of the same form. Whether `index` is the leaf's true
/// place is then for the leaf's own data to say.
#[must_use]
pub fn steps(leaves: &[Digest], index: usize) -> Option<Vec<Step>> {
    if index >= leaves.len() {
        return None;
    }
    if leaves.len() == 1 {
        return Some(Vec::new());
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut below, sibling) = if index < left.len() {
        (steps(left, index)?, Step::Right(root(right)))
    } else {
        (steps(right, index - left.len())?, Step::Left(root(left)))
    };
    below.push(sibling);
    Some(below)
}

/// Checks that `leaf` is under `root`.
///
/// # Errors
/// [`Invalid`] with link `link`.
pub fn verify_steps(link: &'static str, leaf: Digest, steps: &[Step], root: &Digest) -> Result<(), Invalid> {
    let top = steps.iter().fold(leaf, |hash, step| match step {
        Step::Left(sibling) => node_hash(sibling, &hash),
        Step::Right(sibling) => node_hash(&hash, sibling),
    });
    // A tree of 2^64 leaves is 64 high.
    if steps.len() <= 64 && top == *root {
        return Ok(());
    }
    Err(Invalid::new(link, format!("the leaf {leaf} is not under root {root}")))
}

/// Checks that `leaf` is number `index` of the `size` leaves under `root` (RFC 9162 §2.1.3.2).
///
/// The size must come from somebody who is believed: a wrong one can pass (leaf 0 of 3 and of 4).
///
/// # Errors
/// [`Invalid`] with link `link`.
pub fn verify(
    link: &'static str,
    leaf: Digest,
    position: (u64, u64),
    path: &[Digest],
    root: &Digest,
) -> Result<(), Invalid> {
    let (index, size) = position;
    let bad = || Invalid::new(link, format!("leaf {index} of {size} is not under root {root}"));
    if index >= size {
        return Err(bad());
    }
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in path {
        if last == 0 {
            return Err(bad());
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    if last == 0 && hash == *root { Ok(()) } else { Err(bad()) }
}
