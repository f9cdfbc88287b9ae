//! The authenticated map: a sparse Merkle tree over SHA-256 with the hashes of the jellyfish Merkle tree,
//! kept in whatever holds rows.
//!
//! # The root
//! It depends on the set of keys and values alone. With `k` = SHA-256 of a state key and `v` = SHA-256 of its
//! value, the entries sorted by `k` make a binary tree by the bits of `k`, the highest first:
//!
//! - no entry: the 32 bytes `SPARSE_MERKLE_PLACEHOLDER_HASH__`
//! - one entry, whatever its depth: SHA-256 of `JMT::LeafNode ‖ k ‖ v`
//! - more: SHA-256 of `JMT::IntrnalNode ‖ left ‖ right` (so spelt)
//!
//! [`root_of`] computes it from all entries, [`update`] from the nodes of the state before. Any verifier of
//! that tree's proofs can check a value against the root.
//!
//! # The nodes
//! Four levels of the binary tree are one node with 16 slots, each empty, an entry, or the hash of the node
//! below. Only the newest state is kept, so a node is named by its path from the root alone: a row of a
//! backend is (path, bytes), put and deleted as a [`Change`] says. A node is hashed when it is read and
//! compared with what its parent says: a damaged, missing or outdated row is [`ErrorKind::Corrupt`] and never
//! a wrong root.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use w3bstream_types::Digest;

use crate::{Error, ErrorKind, Writes};

/// The root of a state without entries.
pub const EMPTY_ROOT: Digest = Digest::from_bytes(*b"SPARSE_MERKLE_PLACEHOLDER_HASH__");

/// What a set of writes does to root and nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The new root.
    pub root: Digest,
    /// Rows to put: path and bytes. They may replace one of the same path.
    pub put: Vec<(Vec<u8>, Vec<u8>)>,
    /// Paths of rows to delete.
    pub delete: Vec<Vec<u8>>,
}

/// Reads the bytes of the node with a path.
pub type ReadNode<'r> = dyn Fn(&[u8]) -> Result<Option<Vec<u8>>, Error> + 'r;

/// Computes the state's new root and what changes among the nodes. Nothing is written: the caller stores the
/// [`Change`] together with the writes, in one transaction.
///
/// Writes that change nothing (the same value, deleting what is not there) touch no node.
///
/// # Errors
/// Those of `read`; [`ErrorKind::Corrupt`] if a node is missing, damaged, or not of this root's state.
pub fn update(read: &ReadNode<'_>, root: Digest, writes: &Writes) -> Result<Change, Error> {
    let entry = |(key, value): (&Vec<u8>, &Option<Vec<u8>>)| {
        (*Digest::of(key).as_bytes(), value.as_ref().map(|v| *Digest::of(v).as_bytes()))
    };
    let mut edits: Vec<Edit> = writes.iter().map(entry).collect();
    edits.sort_unstable();
    let mut tree = Tree { read, change: Change { root, put: Vec::new(), delete: Vec::new() } };
    tree.edit_root(&edits)?;
    Ok(tree.change)
}

/// The root of a state with these entries, computed without any nodes. For checks: it reads everything.
pub fn root_of<'e>(entries: impl IntoIterator<Item = (&'e [u8], &'e [u8])>) -> Digest {
    let hashes = |(key, value): (&[u8], &[u8])| (*Digest::of(key).as_bytes(), *Digest::of(value).as_bytes());
    let leaves: BTreeMap<_, _> = entries.into_iter().map(hashes).collect();
    Digest::from_bytes(subtree(&leaves.into_iter().collect::<Vec<_>>(), 0))
}

type Hash = [u8; 32];

/// A key's hash, and its value's hash or nothing if it is deleted.
type Edit = (Hash, Option<Hash>);

fn subtree(leaves: &[(Hash, Hash)], depth: usize) -> Hash {
    match leaves {
        [] => *EMPTY_ROOT.as_bytes(),
        [(key, value)] => leaf_hash(key, value),
        _ => {
            let is_left = |(key, _): &(Hash, Hash)| key[depth / 8] >> (7 - depth % 8) & 1 == 0;
            let (left, right) = leaves.split_at(leaves.partition_point(is_left));
            branch_hash(&subtree(left, depth + 1), &subtree(right, depth + 1))
        }
    }
}

fn leaf_hash(key: &Hash, value: &Hash) -> Hash {
    hash(b"JMT::LeafNode", key, value)
}

fn branch_hash(left: &Hash, right: &Hash) -> Hash {
    hash(b"JMT::IntrnalNode", left, right)
}

fn hash(domain: &[u8], a: &Hash, b: &Hash) -> Hash {
    let mut hash = Sha256::new();
    hash.update(domain);
    hash.update(a);
    hash.update(b);
    hash.finalize().into()
}

/// Half byte number `depth` of a key.
fn nibble(key: &Hash, depth: usize) -> usize {
    usize::from(if depth.is_multiple_of(2) { key[depth / 2] >> 4 } else { key[depth / 2] & 15 })
}

/// The path of the node `depth` half bytes below the root on the way to `key`: the number of half bytes,
/// then these two by two. Rows near the root are near each other.
fn path(key: &Hash, depth: usize) -> Vec<u8> {
    // A key has 64 half bytes.
    let mut path = vec![depth as u8];
    path.extend_from_slice(&key[..depth.div_ceil(2)]);
    if !depth.is_multiple_of(2) {
        path[depth.div_ceil(2)] &= 0xf0;
    }
    path
}

fn corrupt(why: &str, path: &[u8]) -> Error {
    let path: String = path.iter().map(|b| format!("{b:02x}")).collect();
    Error::new(ErrorKind::Corrupt, format!("the state's tree is damaged: the node {path} {why}"))
}

/// What is below one of a node's sixteen branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Empty,
    /// One entry, and nothing else.
    Leaf {
        key: Hash,
        value: Hash,
    },
    /// The hash of a node with two entries or more.
    Node(Hash),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node([Slot; 16]);

impl Node {
    const EMPTY: Self = Self([Slot::Empty; 16]);

    fn hash(&self) -> Hash {
        fn fold(slots: &[Slot]) -> Hash {
            let mut filled = slots.iter().filter(|s| **s != Slot::Empty);
            match (filled.next(), filled.next()) {
                (None, _) => *EMPTY_ROOT.as_bytes(),
                (Some(Slot::Leaf { key, value }), None) => leaf_hash(key, value),
                (Some(Slot::Node(hash)), None) if slots.len() == 1 => *hash,
                _ => {
                    let (left, right) = slots.split_at(slots.len() / 2);
                    branch_hash(&fold(left), &fold(right))
                }
            }
        }
        fold(&self.0)
    }

    /// What the parent's slot is to hold: a node of its own is there for two entries or more.
    fn as_slot(&self) -> Slot {
        let mut filled = self.0.iter().filter(|s| **s != Slot::Empty);
        match (filled.next(), filled.next()) {
            (None, _) => Slot::Empty,
            (Some(leaf @ Slot::Leaf { .. }), None) => *leaf,
            _ => Slot::Node(self.hash()),
        }
    }

    /// Two bits for the kind of each slot, the first slot lowest; then the slots' hashes.
    fn encode(&self) -> Vec<u8> {
        let (mut kinds, mut bytes) = (0_u32, vec![0; 4]);
        for (i, slot) in self.0.iter().enumerate() {
            let kind = match slot {
                Slot::Empty => 0,
                Slot::Leaf { key, value } => {
                    bytes.extend_from_slice(key);
                    bytes.extend_from_slice(value);
                    1
                }
                Slot::Node(hash) => {
                    bytes.extend_from_slice(hash);
                    2
                }
            };
            kinds |= kind << (2 * i);
        }
        bytes[..4].copy_from_slice(&kinds.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (kinds, mut rest) = bytes.split_first_chunk::<4>()?;
        let kinds = u32::from_be_bytes(*kinds);
        let mut take = || {
            let (hash, after) = rest.split_first_chunk::<32>()?;
            rest = after;
            Some(*hash)
        };
        let mut node = Self::EMPTY;
        for (i, slot) in node.0.iter_mut().enumerate() {
            *slot = match kinds >> (2 * i) & 3 {
                0 => Slot::Empty,
                1 => Slot::Leaf { key: take()?, value: take()? },
                2 => Slot::Node(take()?),
                _ => return None,
            };
        }
        rest.is_empty().then_some(node)
    }
}

/// Reads a node that may be anything: what was read is written as it was.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any(bytes: &[u8]) {
    let Some(node) = Node::decode(bytes) else { return };
    assert_eq!(node.encode(), bytes, "a node has two forms");
    let empty = node.0.iter().all(|slot| *slot == Slot::Empty);
    assert_eq!(node.as_slot() == Slot::Empty, empty);
    assert_eq!(Digest::from_bytes(node.hash()) == EMPTY_ROOT, empty);
}

/// Walks down with the edits, sorted by key, and collects what changes on the way up.
struct Tree<'r> {
    read: &'r ReadNode<'r>,
    change: Change,
}

impl Tree<'_> {
    fn edit_root(&mut self, edits: &[Edit]) -> Result<(), Error> {
        let Some((any, _)) = edits.first() else { return Ok(()) };
        let (path, before) = (path(any, 0), self.change.root);
        let was_empty = before == EMPTY_ROOT;
        let mut node = if was_empty { Node::EMPTY } else { self.load(&path, *before.as_bytes())? };
        self.edit_slots(&mut node, 0, edits)?;
        // The root's node is there for one entry too: nobody else could hold that.
        let root = Digest::from_bytes(node.hash());
        if root == before {
            return Ok(());
        }
        if root == EMPTY_ROOT {
            self.change.delete.push(path);
        } else {
            self.change.put.push((path, node.encode()));
        }
        self.change.root = root;
        Ok(())
    }

    /// Edits what is below a slot, `depth` half bytes from the root, and gives what the slot is to hold.
    fn edit(&mut self, slot: Slot, depth: usize, edits: &[Edit]) -> Result<Slot, Error> {
        let Some((any, _)) = edits.first() else { return Ok(slot) };
        let path = path(any, depth);
        if let Slot::Node(hash) = slot {
            let mut node = self.load(&path, hash)?;
            self.edit_slots(&mut node, depth, edits)?;
            let after = node.as_slot();
            match after {
                Slot::Node(_) if after == slot => {}
                Slot::Node(_) => self.change.put.push((path, node.encode())),
                Slot::Empty | Slot::Leaf { .. } => self.change.delete.push(path),
            }
            return Ok(after);
        }
        // All entries below are known: the slot's own one, if it has one, and those that are set.
        let kept = match slot {
            Slot::Leaf { key, value } if edits.binary_search_by_key(&key, |e| e.0).is_err() => {
                Some((key, Some(value)))
            }
            _ => None,
        };
        let set = edits.iter().filter(|e| e.1.is_some()).copied();
        let mut entries: Vec<Edit> = set.chain(kept).collect();
        match entries[..] {
            [] => return Ok(Slot::Empty),
            [(key, Some(value))] => return Ok(Slot::Leaf { key, value }),
            _ => entries.sort_unstable(),
        }
        let mut node = Node::EMPTY;
        self.edit_slots(&mut node, depth, &entries)?;
        self.change.put.push((path, node.encode()));
        Ok(Slot::Node(node.hash()))
    }

    fn edit_slots(&mut self, node: &mut Node, depth: usize, edits: &[Edit]) -> Result<(), Error> {
        for group in edits.chunk_by(|a, b| nibble(&a.0, depth) == nibble(&b.0, depth)) {
            let slot = &mut node.0[nibble(&group[0].0, depth)];
            *slot = self.edit(*slot, depth + 1, group)?;
        }
        Ok(())
    }

    fn load(&self, path: &[u8], hash: Hash) -> Result<Node, Error> {
        let bytes = (self.read)(path)?.ok_or_else(|| corrupt("is missing", path))?;
        let node = Node::decode(&bytes).ok_or_else(|| corrupt("is unreadable", path))?;
        // A lone entry has the same hash in any slot, so its place is looked at too.
        let depth = usize::from(path[0]);
        let in_place = |(i, slot): (usize, &Slot)| match slot {
            Slot::Leaf { key, .. } => nibble(key, depth) == i && self::path(key, depth) == path,
            Slot::Empty | Slot::Node(_) => true,
        };
        if node.hash() != hash || !node.0.iter().enumerate().all(in_place) {
            return Err(corrupt("is not the one that belongs there", path));
        }
        Ok(node)
    }
}

#[cfg(test)]
mod tests;
