//! Merkle trees against published roots and paths, and that a proof proves one leaf.

use proptest::prelude::*;
use w3bstream_types::Digest;
use w3bstream_types::merkle::{self, Step, leaf_hash, path, root, steps, verify, verify_steps};

/// The entries that Certificate Transparency's reference implementations share as test data.
const ENTRIES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];

const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn leaves() -> Vec<Digest> {
    ENTRIES.iter().map(|e| leaf_hash(&hex::decode(e).unwrap())).collect()
}

fn numbered(n: usize) -> Vec<Digest> {
    (0..n).map(|i| leaf_hash(&i.to_be_bytes())).collect()
}

#[test]
fn roots_and_paths_are_those_of_rfc_6962() {
    let leaves = leaves();
    for (n, expected) in ROOTS.iter().enumerate() {
        assert_eq!(root(&leaves[..n]).to_string(), *expected, "{n} leaves");
    }
    let text = |path: Option<Vec<Digest>>| path.unwrap().iter().map(Digest::to_string).collect::<Vec<_>>();
    assert_eq!(
        text(path(&leaves, 0)),
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ]
    );
    assert_eq!(
        text(path(&leaves, 5)),
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
    );
    assert_eq!(path(&leaves, 8), None);
    assert_eq!(path(&[], 0), None);
    assert_eq!(steps(&leaves, 8), None);
}

#[test]
fn every_leaf_of_every_small_tree_is_proven_and_only_at_its_place() {
    for n in 1..=40 {
        let leaves = numbered(n);
        let top = root(&leaves);
        for i in 0..n {
            let proof = path(&leaves, i).unwrap();
            for claimed in 0..=n {
                let position = (claimed as u64, n as u64);
                let ok = verify("x", leaves[i], position, &proof, &top).is_ok();
                assert_eq!(ok, claimed == i, "leaf {i} of {n} as {claimed}");
            }
            let proof = steps(&leaves, i).unwrap();
            assert!(verify_steps("x", leaves[i], &proof, &top).is_ok());
        }
    }
    assert!(verify("x", numbered(1)[0], (0, 0), &[], &root(&[])).is_err());
}

#[test]
fn an_inner_node_is_no_leaf() {
    // Leaves and nodes are hashed apart, so two leaves cannot be passed off as one.
    let leaves = numbered(2);
    let joined = [leaves[0].as_bytes(), leaves[1].as_bytes()].map(|d| &d[..]).concat();
    assert_ne!(leaf_hash(&joined), root(&leaves));
}

#[test]
fn paths_of_any_length_are_refused_and_never_loop() {
    let leaves = numbered(5);
    let top = root(&leaves);
    for extra in [1, 64, 1000] {
        let mut proof = path(&leaves, 3).unwrap();
        proof.extend(vec![leaves[0]; extra]);
        assert!(verify("x", leaves[3], (3, 5), &proof, &top).is_err());
        assert!(verify("x", leaves[3], (u64::MAX - 1, u64::MAX), &proof, &top).is_err());
    }
    let too_high = vec![Step::Left(top); 65];
    let forged = too_high.iter().fold(top, |hash, _| root(&[top, hash]));
    assert!(verify_steps("x", top, &too_high, &forged).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_changed_proof_proves_nothing(n in 2..200usize, at in any::<usize>(), step in any::<usize>(), bit in 0..256usize) {
        let leaves = numbered(n);
        let (i, top) = (at % n, root(&leaves));
        let flip = |d: &Digest| {
            let mut bytes = *d.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            Digest::from_bytes(bytes)
        };
        let position = (i as u64, n as u64);
        let good = path(&leaves, i).unwrap();
        let place = step % good.len();
        let mut bad = good.clone();
        bad[place] = flip(&bad[place]);
        prop_assert!(verify("x", leaves[i], position, &bad, &top).is_err());
        let mut short = good.clone();
        short.remove(place);
        prop_assert!(verify("x", leaves[i], position, &short, &top).is_err());
        prop_assert!(verify("x", flip(&leaves[i]), position, &good, &top).is_err());
        prop_assert!(verify("x", leaves[i], position, &good, &flip(&top)).is_err());
        let mut sides = steps(&leaves, i).unwrap();
        sides[place] = match sides[place] { Step::Left(d) => Step::Right(d), Step::Right(d) => Step::Left(d) };
        prop_assert!(verify_steps("x", leaves[i], &sides, &top).is_err());
        let plain: Vec<Digest> = steps(&leaves, i).unwrap().iter().map(|s| match s { Step::Left(d) | Step::Right(d) => *d }).collect();
        prop_assert_eq!(plain, good);
    }
}

#[test]
fn a_size_alone_is_not_bound() {
    // Why a receipt's outputs carry sides: the same path verifies for a tree of another size.
    let leaves = numbered(3);
    let proof = merkle::path(&leaves, 0).unwrap();
    let top = root(&leaves);
    assert!(verify("x", leaves[0], (0, 3), &proof, &top).is_ok());
    assert!(verify("x", leaves[0], (0, 4), &proof, &top).is_ok());
}
