//! The walk up the outputs' tree against the one of the types.

use proptest::prelude::*;
use w3bstream_types::{Digest, merkle};

use crate::world::*;

fn encoded(leaf: Digest, position: (u64, u64), path: &[Digest], root: Digest) -> Vec<u8> {
    let mut words = vec![*leaf.as_bytes(), word(position.0), word(position.1), word(160), *root.as_bytes()];
    words.push(word(path.len() as u64));
    words.extend(path.iter().map(|d| *d.as_bytes()));
    call("requireIncluded(bytes32,uint64,uint64,bytes32[],bytes32)", &words)
}

/// What both say about a path.
fn both(
    world: &World,
    harness: w3bstream_types::Address,
    case: (Digest, (u64, u64), &[Digest], Digest),
) -> (bool, bool) {
    let (leaf, position, path, root) = case;
    let there = world.read(harness, encoded(leaf, position, path, root));
    if let Err(data) = &there {
        refused(Err::<(), _>(data.clone()), "LeafNotUnderRoot(uint64,uint64)");
    }
    (merkle::verify("outputs", leaf, position, path, &root).is_ok(), there.is_ok())
}

fn leaves(n: usize) -> Vec<Digest> {
    (0..n).map(|i| Digest::of(&i.to_be_bytes())).collect()
}

#[test]
fn every_leaf_of_every_small_tree_is_found() {
    let world = World::new(1);
    let harness = world.create(HARNESS, &[]);
    for n in 1..=17 {
        let leaves = leaves(n);
        let root = merkle::root(&leaves);
        for i in 0..n {
            let path = merkle::path(&leaves, i).unwrap();
            let at = (i as u64, n as u64);
            assert_eq!(both(&world, harness, (leaves[i], at, &path, root)), (true, true), "{i} of {n}");
            // At another place, or as another leaf, it is not.
            let other = ((i as u64 + 1) % n as u64, n as u64);
            let expected = n == 1;
            assert_eq!(both(&world, harness, (leaves[i], other, &path, root)).1, expected, "{i} of {n}");
            let forged = Digest::of(b"forged");
            assert_eq!(both(&world, harness, (forged, at, &path, root)), (false, false));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn contract_and_types_agree_on_changed_paths(
        n in 1usize..40,
        index in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((0u8..7, any::<u64>(), any::<prop::sample::Index>()), 8),
    ) {
        let world = World::new(1);
        let harness = world.create(HARNESS, &[]);
        let leaves = leaves(n);
        let (index, root) = (index.index(n), merkle::root(&leaves));
        for (kind, number, place) in changes {
            let mut path = merkle::path(&leaves, index).unwrap();
            let (mut at, mut root) = ((index as u64, n as u64), root);
            match kind {
                0 => at.0 = number % 64,
                1 => at.1 = number % 64,
                2 => at = (number, number.wrapping_add(1)),
                3 => path.push(Digest::of(b"more")),
                4 => { path.pop(); }
                5 if !path.is_empty() => { let p = place.index(path.len()); path[p] = Digest::of(b"other"); }
                5 | 6 => root = Digest::of(b"root"),
                _ => {}
            }
            let (types, contract) = both(&world, harness, (leaves[index], at, &path, root));
            prop_assert_eq!(types, contract, "{:?} of {} as {:?}", index, n, at);
        }
    }
}
