//! The authenticated map: a jellyfish Merkle tree (crate `jmt`) over SHA-256, kept in whatever holds rows.
//!
//! # The root
//! It depends on the set of keys and values alone. With `k` = SHA-256 of a state key and `v` = SHA-256 of its
//! value, the entries sorted by `k` make a binary tree by the bits of `k`, the highest first:
//!
//! - no entry: the 32 bytes `SPARSE_MERKLE_PLACEHOLDER_HASH__`
//! - one entry, whatever its depth: SHA-256 of `JMT::LeafNode ‖ k ‖ v`
//! - more: SHA-256 of `JMT::IntrnalNode ‖ left ‖ right` (so spelt)
//!
//! [`root_of`] computes it from all entries, [`update`] from the nodes of the state before.
//!
//! # The nodes
//! Only the newest state is kept, so a node is named by its path from the root: a row of a backend is (path,
//! bytes), written and deleted as a [`Change`] says. The bytes carry a checksum that includes path and
//! version: a row that was damaged, or is one of another state, is [`ErrorKind::Corrupt`] and never a wrong
//! root.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use borsh::BorshDeserialize as _;
use jmt::storage::{LeafNode, Node, NodeKey, TreeReader};
use jmt::{JellyfishMerkleTree, KeyHash, OwnedValue};
use sha2::{Digest as _, Sha256};
use w3bstream_types::Digest;

use crate::{Error, ErrorKind, Writes};

const EMPTY_ROOT: Digest = Digest::from_bytes(*b"SPARSE_MERKLE_PLACEHOLDER_HASH__");
/// Bytes of a node's checksum.
const CHECKSUM: usize = 8;
/// Bytes of a node's version.
const VERSION: usize = 8;

/// Where the tree of a state starts. A backend keeps it beside the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Rises with each change of the tree; names the newest nodes. Has nothing to do with heights.
    pub version: u64,
    /// The root of the state.
    pub root: Digest,
}

impl Head {
    /// The head of a state without entries.
    pub const EMPTY: Self = Self { version: 0, root: EMPTY_ROOT };
}

/// What a set of writes does to the nodes. Rows to put may replace one of the same path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The new head.
    pub head: Head,
    /// Rows to put: path and bytes.
    pub put: Vec<(Vec<u8>, Vec<u8>)>,
    /// Paths of rows to delete.
    pub delete: Vec<Vec<u8>>,
}

/// Reads the bytes of the node with a path.
pub type ReadNode<'r> = dyn Fn(&[u8]) -> Result<Option<Vec<u8>>, Error> + 'r;

/// Computes the state's new root and what changes among the nodes. Nothing is written: the caller stores the
/// [`Change`] together with the writes, in one transaction.
///
/// Writes that change nothing (the same value, deleting what is not there) give the same head.
///
/// # Errors
/// Those of `read`; [`ErrorKind::Corrupt`] if a node is missing, damaged, or not of this head.
pub fn update(read: &ReadNode<'_>, head: Head, writes: &Writes) -> Result<Change, Error> {
    let same = Change { head, put: Vec::new(), delete: Vec::new() };
    if writes.is_empty() {
        return Ok(same);
    }
    let reader = Reader { read, head, failed: RefCell::new(None) };
    let version = head.version.checked_add(1).ok_or_else(|| corrupt("the tree's version is used up"))?;
    let values = writes.iter().map(|(key, value)| (key_hash(key), value.clone()));
    let tree = JellyfishMerkleTree::<'_, _, Sha256>::new(&reader);
    let (root, batch) = match tree.put_value_set(values, version) {
        Ok(done) => done,
        Err(e) => {
            // The reader's own error is the cause; the tree's only says that there was one.
            let cause = reader.failed.take();
            return Err(
                cause.unwrap_or_else(|| corrupt(format!("the tree's nodes do not fit together: {e:#}")))
            );
        }
    };
    let root = Digest::from_bytes(root.0);
    if root == head.root {
        return Ok(same);
    }
    let mut put = BTreeMap::new();
    for (key, node) in batch.node_batch.nodes() {
        // An empty tree has no rows: its head says so.
        if !matches!(node, Node::Null) {
            let path = path_of(key);
            let bytes = encode(&path, key.version(), node)?;
            put.insert(path, bytes);
        }
    }
    let stale: BTreeSet<_> = batch.stale_node_index_batch.iter().map(|s| path_of(&s.node_key)).collect();
    let delete = stale.into_iter().filter(|path| !put.contains_key(path)).collect();
    Ok(Change { head: Head { version, root }, put: put.into_iter().collect(), delete })
}

/// The root of a state with these entries, computed without any nodes. For checks: it reads everything.
pub fn root_of<'e>(entries: impl IntoIterator<Item = (&'e [u8], &'e [u8])>) -> Digest {
    let hash = |(key, value): (&[u8], &[u8])| (*Digest::of(key).as_bytes(), *Digest::of(value).as_bytes());
    let leaves: BTreeMap<_, _> = entries.into_iter().map(hash).collect();
    Digest::from_bytes(subtree(&leaves.into_iter().collect::<Vec<_>>(), 0))
}

fn subtree(leaves: &[([u8; 32], [u8; 32])], depth: usize) -> [u8; 32] {
    match leaves {
        [] => *EMPTY_ROOT.as_bytes(),
        [(key, value)] => hash(&[b"JMT::LeafNode", key, value]),
        _ => {
            let is_left = |(key, _): &([u8; 32], [u8; 32])| key[depth / 8] >> (7 - depth % 8) & 1 == 0;
            let (left, right) = leaves.split_at(leaves.partition_point(is_left));
            hash(&[b"JMT::IntrnalNode", &subtree(left, depth + 1), &subtree(right, depth + 1)])
        }
    }
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|p| hash.update(p));
    hash.finalize().into()
}

fn key_hash(key: &[u8]) -> KeyHash {
    KeyHash(*Digest::of(key).as_bytes())
}

fn corrupt(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, why)
}

/// The number of half bytes, then the half bytes two by two: rows near the root are near each other.
fn path_of(key: &NodeKey) -> Vec<u8> {
    let nibbles: Vec<u8> = key.nibble_path().nibbles().map(u8::from).collect();
    // A path has at most 64 half bytes, those of a SHA-256.
    let mut path = vec![nibbles.len() as u8];
    path.extend(nibbles.chunks(2).map(|pair| pair[0] << 4 | pair.get(1).copied().unwrap_or(0)));
    path
}

fn checksum(path: &[u8], body: &[u8]) -> [u8; CHECKSUM] {
    let full = hash(&[&[path.len() as u8], path, body]);
    let mut sum = [0; CHECKSUM];
    sum.copy_from_slice(&full[..CHECKSUM]);
    sum
}

/// version ‖ node ‖ checksum.
fn encode(path: &[u8], version: u64, node: &Node) -> Result<Vec<u8>, Error> {
    let mut bytes = version.to_be_bytes().to_vec();
    borsh::to_writer(&mut bytes, node).map_err(|e| corrupt("a node cannot be encoded").with_source(e))?;
    let sum = checksum(path, &bytes);
    bytes.extend_from_slice(&sum);
    Ok(bytes)
}

fn decode(path: &[u8], bytes: &[u8]) -> Option<(u64, Node)> {
    let (body, sum) = bytes.split_last_chunk::<CHECKSUM>()?;
    let (version, node) = body.split_first_chunk::<VERSION>()?;
    if checksum(path, body) != *sum {
        return None;
    }
    Some((u64::from_be_bytes(*version), Node::try_from_slice(node).ok()?))
}

fn root_hash(node: &Node) -> Digest {
    Digest::from_bytes(match node {
        Node::Null => *EMPTY_ROOT.as_bytes(),
        Node::Internal(node) => node.hash::<Sha256>(),
        Node::Leaf(node) => node.hash::<Sha256>(),
    })
}

/// Gives a tree its nodes, and checks each.
struct Reader<'r> {
    read: &'r ReadNode<'r>,
    head: Head,
    failed: RefCell<Option<Error>>,
}

impl Reader<'_> {
    fn node(&self, key: &NodeKey) -> Result<Option<Node>, Error> {
        let is_root = key.nibble_path().is_empty();
        if is_root && self.head.root == EMPTY_ROOT {
            return Ok(None);
        }
        let path = path_of(key);
        let at = || format!("{:?} of version {}", key.nibble_path(), key.version());
        let bytes = (self.read)(&path)?.ok_or_else(|| corrupt(format!("the node {} is missing", at())))?;
        let (version, node) =
            decode(&path, &bytes).ok_or_else(|| corrupt(format!("the node {} is damaged", at())))?;
        if version != key.version() || (is_root && root_hash(&node) != self.head.root) {
            return Err(corrupt(format!("the node {} is of another state (version {version})", at())));
        }
        Ok(Some(node))
    }
}

impl TreeReader for Reader<'_> {
    fn get_node_option(&self, key: &NodeKey) -> anyhow::Result<Option<Node>> {
        self.node(key).map_err(|e| {
            let shown = anyhow::Error::msg(e.to_string());
            self.failed.borrow_mut().get_or_insert(e);
            shown
        })
    }

    // The two below serve proofs and restoring, which go through this reader nowhere.
    fn get_value_option(&self, _: u64, _: KeyHash) -> anyhow::Result<Option<OwnedValue>> {
        Ok(None)
    }

    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
