use proptest::prelude::*;

use super::*;

/// A state with its nodes, as a backend keeps them.
#[derive(Clone, Debug)]
struct State {
    head: Head,
    nodes: BTreeMap<Vec<u8>, Vec<u8>>,
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl State {
    fn new() -> Self {
        Self { head: Head::EMPTY, nodes: BTreeMap::new(), entries: BTreeMap::new() }
    }

    fn change(&self, writes: &Writes) -> Result<Change, Error> {
        update(&|path| Ok(self.nodes.get(path).cloned()), self.head, writes)
    }

    fn write(&mut self, writes: &Writes) -> Digest {
        let change = self.change(writes).unwrap();
        for path in change.delete {
            assert!(self.nodes.remove(&path).is_some(), "deletes a node that is not there");
        }
        self.nodes.extend(change.put);
        self.head = change.head;
        for (key, value) in writes {
            match value {
                Some(value) => self.entries.insert(key.clone(), value.clone()),
                None => self.entries.remove(key),
            };
        }
        self.head.root
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
    assert_eq!(Head::EMPTY.root.as_bytes(), b"SPARSE_MERKLE_PLACEHOLDER_HASH__");
    assert_eq!(root_of([]), Head::EMPTY.root);
    // Computed with Python's hashlib from the definition in this module's documentation.
    assert_eq!(root(&[("a", "1")]), "7d9d282a9389c7d2ad4b73b5e924aca19080fd5f8a1c93347f7b824138d00c59");
    assert_eq!(
        root(&[("a", "1"), ("b", "2"), ("c", "3")]),
        "b367f6e649bb2cdadfdcb9ea0bbc50e624d893cd7e1783097a64b77a7bef7250"
    );
}

#[test]
fn writes_that_change_nothing_keep_the_head() {
    let mut state = State::new();
    assert_eq!(state.change(&writes(&[(1, None)])).unwrap().head, Head::EMPTY);
    state.write(&writes(&[set(1), set(2)]));
    for nothing in [writes(&[]), writes(&[(3, None)]), writes(&[set(2)]), writes(&[set(1), (9, None)])] {
        let change = state.change(&nothing).unwrap();
        assert_eq!(change, Change { head: state.head, put: vec![], delete: vec![] });
    }
}

#[test]
fn an_emptied_state_has_no_nodes_and_can_be_filled_again() {
    let mut state = State::new();
    let first = state.write(&writes(&[set(1), set(2), set(3)]));
    state.write(&writes(&[(1, None), (2, None)]));
    assert_eq!(state.write(&writes(&[(3, None)])), Head::EMPTY.root);
    assert!(state.nodes.is_empty());
    assert_eq!(state.write(&writes(&[set(3), set(2), set(1)])), first);
}

#[test]
fn an_empty_value_is_not_an_absent_one() {
    let mut state = State::new();
    let root = state.write(&BTreeMap::from([(b"key".to_vec(), Some(vec![]))]));
    assert_ne!(root, Head::EMPTY.root);
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
    let other_root = Head { root: Digest::of(b"other"), ..state.head };
    let e = update(&|p| Ok(state.nodes.get(p).cloned()), other_root, &again).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Corrupt);
}

#[test]
fn an_error_of_the_reader_is_handed_on() {
    let mut state = State::new();
    state.write(&writes(&[set(1)]));
    let read = |_: &[u8]| Err(Error::new(ErrorKind::Io, "the disk is gone"));
    let e = update(&read, state.head, &writes(&[set(2)])).unwrap_err();
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

    #[test]
    fn decoding_anything_never_panics(path in prop::collection::vec(0_u8.., 0..4), bytes in prop::collection::vec(0_u8.., 0..80)) {
        prop_assert!(decode(&path, &bytes).is_none());
    }
}
