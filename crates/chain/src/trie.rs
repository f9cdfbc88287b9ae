//! The Merkle Patricia trie of a list (Yellow Paper, appendix D): a block's receipts under their indices. Its root is
//! in the block's header, so that one receipt can be shown to somebody who has the header alone.
//!
//! ```
//! use w3bstream_chain::trie;
//!
//! let receipts: Vec<Vec<u8>> = (0..200u8).map(|i| vec![i; 50]).collect();
//! let proof = trie::prove(&receipts, 7).unwrap();
//! assert_eq!(trie::verify(&trie::root(&receipts), 7, &proof).unwrap(), receipts[7]);
//! ```

use w3bstream_types::Invalid;

use crate::Hash;
use crate::rlp::{self, Item, Rlp};

/// A path has two nibbles for each byte of an index's RLP encoding, which has at most nine bytes.
const MAX_DEPTH: usize = 18;

/// The root of the trie that has `values[i]` under the key `rlp(i)`.
#[must_use]
pub fn root(values: &[Vec<u8>]) -> Hash {
    Hash::of(&build(&entries(values), 0, None))
}

/// The nodes from the root to the value at `index`; `None` if there is no such value.
#[must_use]
pub fn prove(values: &[Vec<u8>], index: usize) -> Option<Vec<Vec<u8>>> {
    values.get(index)?;
    let path = key(index as u64);
    let mut proof = Vec::new();
    let root = build(&entries(values), 0, Some((&path, &mut proof)));
    // Children come before their parents; a root is a node of its own even if it is short.
    if root.len() < 32 {
        proof.push(root);
    }
    proof.reverse();
    Some(proof)
}

/// The value at `index` in the trie with this root.
///
/// # Errors
/// [`Invalid`] if the nodes do not lead from the root to a value, or are more than needed.
pub fn verify(root: &Hash, index: u64, proof: &[Vec<u8>]) -> Result<Vec<u8>, Invalid> {
    let path = key(index);
    let mut nodes = proof.iter();
    let mut node = nodes.next().ok_or_else(|| bad("has no node"))?.as_slice();
    if Hash::of(node) != *root {
        return Err(bad("does not start at the root"));
    }
    let mut rest = path.as_slice();
    for _ in 0..=MAX_DEPTH {
        let next = match step(node, &mut rest)? {
            Step::Value(value) if nodes.next().is_none() => return Ok(value.to_vec()),
            Step::Value(_) => return Err(bad("has more nodes than lead to the value")),
            Step::Inline(child) => child,
            Step::Hashed(hash) => {
                let child = nodes.next().ok_or_else(|| bad("ends before the value"))?;
                if Hash::of(child).as_bytes() != hash {
                    return Err(bad("has a node that is not the one its parent names"));
                }
                child
            }
        };
        node = next;
    }
    Err(bad("is deeper than an index can be"))
}

fn bad(why: &'static str) -> Invalid {
    Invalid::new("trie proof", why)
}

/// Where a node leads.
enum Step<'n> {
    Value(&'n [u8]),
    /// A child of less than 32 bytes stands in its parent.
    Inline(&'n [u8]),
    Hashed(&'n [u8]),
}

/// Follows `path` through one node and takes off what it has followed.
fn step<'n>(node: &'n [u8], path: &mut &[u8]) -> Result<Step<'n>, Invalid> {
    let broken = || bad("has a node that is none");
    let mut all = node;
    let body = match rlp::take(&mut all) {
        Ok(Item::List(body)) if all.is_empty() => body,
        _ => return Err(broken()),
    };
    // Children are looked at with their headers, since an inline child is itself a list.
    let items = rlp::items(body).map_err(|_| broken())?;
    match items.as_slice() {
        [Item::Bytes(packed), child] => {
            let (nibbles, leaf) = unpack(packed).ok_or_else(broken)?;
            *path = path.strip_prefix(nibbles.as_slice()).ok_or_else(|| bad("leads to another index"))?;
            match (leaf, child) {
                (true, Item::Bytes(value)) if path.is_empty() => Ok(Step::Value(value)),
                (true, _) => Err(bad("leads to another index")),
                (false, _) => follow(body, 1),
            }
        }
        branch if branch.len() == 17 => {
            let (nibble, rest) = path.split_first().ok_or_else(|| bad("leads to another index"))?;
            *path = rest;
            follow(body, usize::from(*nibble))
        }
        _ => Err(broken()),
    }
}

/// The reference at place `at` of a node's body.
fn follow(body: &[u8], at: usize) -> Result<Step<'_>, Invalid> {
    let broken = || bad("has a node that is none");
    let mut rest = body;
    for _ in 0..at {
        rlp::take(&mut rest).map_err(|_| broken())?;
    }
    let start = rest;
    match rlp::take(&mut rest).map_err(|_| broken())? {
        Item::Bytes(hash) if hash.len() == 32 => Ok(Step::Hashed(hash)),
        Item::Bytes(_) => Err(bad("leads to no value")),
        Item::List(_) => Ok(Step::Inline(start.get(..start.len() - rest.len()).unwrap_or_default())),
    }
}

/// Nibbles of a key.
fn key(index: u64) -> Vec<u8> {
    let encoded = Rlp::new().uint(index.into()).done();
    encoded.iter().flat_map(|b| [b >> 4, b & 15]).collect()
}

fn entries(values: &[Vec<u8>]) -> Vec<(Vec<u8>, &[u8])> {
    let mut entries: Vec<_> = (0..).zip(values).map(|(i, v)| (key(i), v.as_slice())).collect();
    entries.sort();
    entries
}

/// The nibbles of a leaf or an extension with their flags ("hex prefix").
fn pack(nibbles: &[u8], leaf: bool) -> Vec<u8> {
    let flag = if leaf { 2 } else { 0 };
    let (first, rest) = match nibbles {
        [odd, rest @ ..] if nibbles.len() % 2 == 1 => (((flag + 1) << 4) | odd, rest),
        even => (flag << 4, even),
    };
    let pairs = rest.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, nibble| (byte << 4) | nibble));
    std::iter::once(first).chain(pairs).collect()
}

fn unpack(packed: &[u8]) -> Option<(Vec<u8>, bool)> {
    let (first, rest) = packed.split_first()?;
    let flag = first >> 4;
    let odd = (flag & 1 == 1).then_some(first & 15);
    if flag > 3 || (odd.is_none() && first & 15 != 0) {
        return None;
    }
    let nibbles = odd.into_iter().chain(rest.iter().flat_map(|b| [b >> 4, b & 15])).collect();
    Some((nibbles, flag >= 2))
}

/// The encoding of the node over these entries, whose keys are the same up to `depth`. Nodes of 32 bytes and more on
/// the way to `wanted` are put aside, children first.
fn build(
    entries: &[(Vec<u8>, &[u8])],
    depth: usize,
    mut wanted: Option<(&[u8], &mut Vec<Vec<u8>>)>,
) -> Vec<u8> {
    let tail = |key: &[u8], from: usize, to: usize| key.get(from..to).unwrap_or_default().to_vec();
    let node = match entries {
        [] => return Rlp::new().bytes(&[]).done(),
        [(key, value)] => {
            let path = pack(&tail(key, depth, key.len()), true);
            Rlp::new().bytes(&path).bytes(value).into_list()
        }
        [(first, _), .., (last, _)] => {
            let same = first.iter().zip(last).take_while(|(a, b)| a == b).count();
            if same > depth {
                let path = pack(&tail(first, depth, same), false);
                let on_path = wanted.as_mut().map(|(w, p)| (*w, &mut **p));
                let child = reference(build(entries, same, on_path));
                Rlp::new().bytes(&path).raw(&child).into_list()
            } else {
                branch(entries, depth, wanted.as_mut().map(|(w, p)| (*w, &mut **p)))
            }
        }
    };
    if let Some((_, proof)) = wanted.filter(|_| node.len() >= 32) {
        proof.push(node.clone());
    }
    node
}

fn branch(
    entries: &[(Vec<u8>, &[u8])],
    depth: usize,
    mut wanted: Option<(&[u8], &mut Vec<Vec<u8>>)>,
) -> Vec<u8> {
    let mut children = Rlp::new();
    for nibble in 0..16u8 {
        let below = |e: &(Vec<u8>, &[u8])| e.0.get(depth).copied();
        let start = entries.partition_point(|e| below(e) < Some(nibble));
        let end = entries.partition_point(|e| below(e) <= Some(nibble));
        let on_path = wanted.as_mut().filter(|(w, _)| w.get(depth) == Some(&nibble));
        let child = build(
            entries.get(start..end).unwrap_or_default(),
            depth + 1,
            on_path.map(|(w, p)| (*w, &mut **p)),
        );
        children = children.raw(&reference(child));
    }
    // No key is a prefix of another, so a branch has no value of its own.
    children.bytes(&[]).into_list()
}

/// A node as its parent has it.
fn reference(node: Vec<u8>) -> Vec<u8> {
    if node.len() < 32 { node } else { Rlp::new().bytes(Hash::of(&node).as_bytes()).done() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn roots_of_known_lists() {
        // The root of an empty trie, as every block without transactions has it.
        let empty = "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421";
        assert_eq!(root(&[]).to_string(), empty);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn every_value_is_proved(sizes in proptest::collection::vec(1usize..80, 1..300), salt in any::<u8>()) {
            let values: Vec<Vec<u8>> = (0u8..=255).cycle().zip(&sizes).map(|(i, n)| vec![i ^ salt; *n]).collect();
            let root = root(&values);
            for index in [0, 1, values.len() / 2, values.len() - 1].into_iter().filter(|i| *i < values.len()) {
                let proof = prove(&values, index).unwrap();
                prop_assert_eq!(&verify(&root, index as u64, &proof).unwrap(), &values[index]);
                // Short values stand in the nodes of others; whatever a proof shows is there.
                for other in 0..300 {
                    if let Ok(shown) = verify(&root, other, &proof) {
                        prop_assert_eq!(Some(&shown), values.get(other as usize), "at {}, for {}", other, index);
                    }
                }
                let mut longer = proof.clone();
                longer.push(vec![0xc0]);
                prop_assert!(verify(&root, index as u64, &longer).is_err());
                prop_assert!(verify(&root, index as u64, &proof[..proof.len() - 1]).is_err());
            }
            prop_assert!(prove(&values, values.len()).is_none());
        }

        #[test]
        fn a_changed_proof_shows_nothing(
            count in 1usize..200, node in any::<prop::sample::Index>(),
            at in any::<prop::sample::Index>(), flip in 1u8..,
        ) {
            let values: Vec<Vec<u8>> = (0..count).map(|i| i.to_string().repeat(20).into_bytes()).collect();
            let mut proof = prove(&values, count / 2).unwrap();
            let node = node.index(proof.len());
            let at = at.index(proof[node].len());
            proof[node][at] ^= flip;
            prop_assert!(verify(&root(&values), (count / 2) as u64, &proof).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(nodes in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..4)) {
            let first = Hash::of(&nodes[0]);
            let _ = verify(&first, 3, &nodes);
        }
    }
}
