use proptest::prelude::*;

use super::*;

/// A state with its nodes, as a backend keeps them.
#[derive(Clone, Debug)]
struct State {
    root: Digest,
    nodes: BTreeMap<Vec<u8>, Vec<u8>>,
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl State {
    fn new() -> Self {
        Self { root: EMPTY_ROOT, nodes: BTreeMap::new(), entries: BTreeMap::new() }
    }

    fn change(&self, writes: &Writes) -> Result<Change, Error> {
        update(&|path| Ok(self.nodes.get(path).cloned()), self.root, writes)
    }

    fn write(&mut self, writes: &Writes) -> Digest {
        let change = self.change(writes).unwrap();
        for path in change.delete {
            assert!(self.nodes.remove(&path).is_some(), "deletes a node that is not there");
        }
        self.nodes.extend(change.put);
        self.root = change.root;
        for (key, value) in writes {
            match value {
                Some(value) => self.entries.insert(key.clone(), value.clone()),
                None => self.entries.remove(key),
            };
        }
        self.root
    }

    fn direct(&self) -> Digest {
        root_of(self.entries.iter().map(|(k, v)| (&k[..], &v[..])))
    }

    /// How many nodes the entries need: what is more was not pruned.
    fn needed(&self) -> usize {
        let mut fresh = Self::new();
        fresh.write(&self.entries.iter().map(|(k, v)| (k.clone(), Some(v.clone()))).collect());
        fresh.nodes.len()
    }
}

fn writes(changes: &[(u16, Option<u8>)]) -> Writes {
    changes.iter().map(|(k, v)| (k.to_be_bytes().to_vec(), v.map(|v| vec![v; 3]))).collect()
}

fn set(n: u16) -> (u16, Option<u8>) {
    (n, Some(1))
}

#[test]
fn known_roots() {
    let root = |entries: &[(&str, &str)]| {
        root_of(entries.iter().map(|(k, v)| (k.as_bytes(), v.as_bytes()))).to_string()
    };
    assert_eq!(EMPTY_ROOT.as_bytes(), b"SPARSE_MERKLE_PLACEHOLDER_HASH__");
    assert_eq!(root_of([]), EMPTY_ROOT);
    // Computed with Python's hashlib from the definition in this module's documentation.
    assert_eq!(root(&[("a", "1")]), "7d9d282a9389c7d2ad4b73b5e924aca19080fd5f8a1c93347f7b824138d00c59");
    assert_eq!(
        root(&[("a", "1"), ("b", "2"), ("c", "3")]),
        "b367f6e649bb2cdadfdcb9ea0bbc50e624d893cd7e1783097a64b77a7bef7250"
    );
}

/// Found by search: keys whose hashes share their first three half bytes, so that nodes stand in a chain.
#[test]
fn keys_that_are_close_make_a_chain_and_its_end_takes_it_away() {
    let mut buckets: BTreeMap<Vec<u8>, Vec<u16>> = BTreeMap::new();
    for n in 0..6000_u16 {
        let hash = Digest::of(&n.to_be_bytes());
        buckets.entry(path(hash.as_bytes(), 3)).or_default().push(n);
    }
    let close = buckets.into_values().find(|b| b.len() >= 3).unwrap();
    let mut state = State::new();
    let alone = state.write(&writes(&[set(close[0])]));
    assert_eq!(state.nodes.len(), 1);
    let two = state.write(&writes(&[set(close[1])]));
    assert!(state.nodes.len() >= 4, "root and a node for each shared half byte: {}", state.nodes.len());
    state.write(&writes(&[set(close[2]), (close[1], None)]));
    assert_eq!(state.write(&writes(&[set(close[1]), (close[2], None)])), two);
    assert_eq!(state.write(&writes(&[(close[1], None)])), alone);
    assert_eq!(state.nodes.len(), 1, "the chain is gone");
}

#[test]
fn writes_that_change_nothing_keep_the_head() {
    let mut state = State::new();
    assert_eq!(state.change(&writes(&[(1, None)])).unwrap().root, EMPTY_ROOT);
    state.write(&writes(&[set(1), set(2)]));
    for nothing in [writes(&[]), writes(&[(3, None)]), writes(&[set(2)]), writes(&[set(1), (9, None)])] {
        let change = state.change(&nothing).unwrap();
        assert_eq!(change, Change { root: state.root, put: vec![], delete: vec![] });
    }
}

#[test]
fn an_emptied_state_has_no_nodes_and_can_be_filled_again() {
    let mut state = State::new();
    let first = state.write(&writes(&[set(1), set(2), set(3)]));
    state.write(&writes(&[(1, None), (2, None)]));
    assert_eq!(state.write(&writes(&[(3, None)])), EMPTY_ROOT);
    assert!(state.nodes.is_empty());
    assert_eq!(state.write(&writes(&[set(3), set(2), set(1)])), first);
}

#[test]
fn an_empty_value_is_not_an_absent_one() {
    let mut state = State::new();
    let root = state.write(&BTreeMap::from([(b"key".to_vec(), Some(vec![]))]));
    assert_ne!(root, EMPTY_ROOT);
    assert_eq!(root, state.direct());
}

#[test]
fn a_missing_damaged_or_foreign_node_is_noticed() {
    let mut state = State::new();
    state.write(&writes(&(0..200).map(set).collect::<Vec<_>>()));
    let old = state.clone();
    state.write(&writes(&(0..200).map(|n| (n, Some(2))).collect::<Vec<_>>()));
    let again = writes(&(0..200).map(|n| (n, Some(3))).collect::<Vec<_>>());
    for path in state.nodes.keys() {
        let kind = |bytes: Option<Vec<u8>>| {
            let mut bad = state.clone();
            match bytes {
                Some(bytes) => bad.nodes.insert(path.clone(), bytes),
                None => bad.nodes.remove(path),
            };
            bad.change(&again).map(|_| ()).map_err(|e| e.kind())
        };
        assert_eq!(kind(None), Err(ErrorKind::Corrupt), "missing");
        let mut damaged = state.nodes[path].clone();
        let at = damaged.len() / 2;
        damaged[at] ^= 1;
        assert_eq!(kind(Some(damaged)), Err(ErrorKind::Corrupt), "damaged");
        assert_eq!(kind(Some(vec![1])), Err(ErrorKind::Corrupt), "cut off");
        if let Some(bytes) = old.nodes.get(path) {
            assert_eq!(kind(Some(bytes.clone())), Err(ErrorKind::Corrupt), "of the state before");
        }
    }
    let e = update(&|p| Ok(state.nodes.get(p).cloned()), Digest::of(b"other"), &again).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Corrupt);
}

#[test]
fn no_byte_of_a_node_can_be_changed() {
    for entries in [1, 2, 5, 30] {
        let mut state = State::new();
        state.write(&writes(&(0..entries).map(set).collect::<Vec<_>>()));
        let again = writes(&(0..entries).map(|n| (n, Some(3))).collect::<Vec<_>>());
        let root = &[0][..];
        for at in 0..state.nodes[root].len() {
            // The first four bytes say where the entries are; every other value of them is tried.
            let every = if at < 4 { 1..=255 } else { 1..=1 };
            for xor in every {
                let mut bad = state.clone();
                bad.nodes.get_mut(root).unwrap()[at] ^= xor;
                let kind = bad.change(&again).map(|_| ()).map_err(|e| e.kind());
                assert_eq!(kind, Err(ErrorKind::Corrupt), "{entries} entries, byte {at} by {xor}");
            }
        }
    }
}

#[test]
fn an_error_of_the_reader_is_handed_on() {
    let mut state = State::new();
    state.write(&writes(&[set(1)]));
    let read = |_: &[u8]| Err(Error::new(ErrorKind::Io, "the disk is gone"));
    let e = update(&read, state.root, &writes(&[set(2)])).unwrap_err();
    assert_eq!((e.kind(), e.to_string().as_str()), (ErrorKind::Io, "the disk is gone"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the history, the root is that of the entries, and no node is left over.
    #[test]
    fn the_root_is_that_of_the_entries(
        blocks in prop::collection::vec(prop::collection::vec((0_u16..60, prop::option::weighted(0.6, 0_u8..4)), 0..25), 1..10),
    ) {
        let mut state = State::new();
        for block in &blocks {
            let root = state.write(&writes(block));
            prop_assert_eq!(root, state.direct());
            prop_assert_eq!(state.nodes.len(), state.needed());
        }
    }

    /// Order and grouping of the writes do not matter.
    #[test]
    fn the_root_does_not_know_history(
        entries in prop::collection::btree_map(0_u16..1000, 0_u8.., 1..60),
        extra in prop::collection::btree_set(1000_u16..1100, 0..20),
        shuffled in any::<prop::sample::Index>(),
        size in 1_usize..20,
    ) {
        let all: Vec<_> = entries.iter().map(|(k, v)| (*k, Some(*v))).collect();
        let mut at_once = State::new();
        let wanted = at_once.write(&writes(&all));

        // Rotated, in groups, with detours: other values first, and keys that are deleted at the end.
        let mut detour = State::new();
        detour.write(&writes(&extra.iter().map(|k| (*k, Some(7))).collect::<Vec<_>>()));
        let mut rotated = all.clone();
        rotated.rotate_left(shuffled.index(all.len()));
        for group in rotated.chunks(size) {
            let wrong: Vec<_> = group.iter().map(|(k, v)| (*k, v.map(|v| v ^ 1))).collect();
            detour.write(&writes(&wrong));
            detour.write(&writes(group));
        }
        let mut last = rotated[0];
        last.1 = None;
        let mut deletes: Vec<_> = extra.iter().map(|k| (*k, None)).collect();
        deletes.push(last);
        detour.write(&writes(&deletes));
        let root = detour.write(&writes(&rotated[..1]));
        prop_assert_eq!(root, wanted);
        prop_assert_eq!(detour.nodes.len(), at_once.nodes.len());
    }

    /// A node has one encoding, and bytes that are no encoding are refused.
    #[test]
    fn nodes_have_one_encoding(kinds in prop::array::uniform16(0_u8..3), cut in 0_usize..100) {
        let mut node = Node::EMPTY;
        for (i, kind) in (0_u8..).zip(kinds) {
            node.0[usize::from(i)] = match kind {
                0 => Slot::Empty,
                1 => Slot::Leaf { key: [i; 32], value: [i + 100; 32] },
                _ => Slot::Node([i + 200; 32]),
            };
        }
        let bytes = node.encode();
        prop_assert_eq!(Node::decode(&bytes), Some(node.clone()));
        prop_assert_eq!(Node::decode(&[&bytes[..], &[0]].concat()), None);
        prop_assert_eq!(Node::decode(&bytes[..bytes.len() - 1 - cut % bytes.len()]), None);
    }
}
