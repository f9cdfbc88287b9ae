use w3bstream_types::Digest;

use super::*;
use crate::conformance::Subnet;

fn statement(subnet: &Subnet, height: u64, root: &[u8]) -> Statement {
    Statement {
        subnet: subnet.genesis.project,
        genesis: subnet.genesis.digest(),
        epoch: 0,
        height,
        block: Digest::of(&height.to_be_bytes()),
        manifest: Digest::ZERO,
        state_root: Digest::of(root),
        outputs_root: Digest::ZERO,
    }
}

fn signed(subnet: &Subnet, member: u32, statement: &Statement) -> SignedStatement {
    let signature = statement.sign(&subnet.attestation_keys[member as usize]).unwrap();
    SignedStatement { member, statement: statement.clone(), signature }
}

#[test]
fn a_subnet_of_one_is_complete_at_once_and_once() {
    let subnet = Subnet::new(1, "solo");
    let mut pool = AttestationPool::new(subnet.genesis.clone(), 0).unwrap();
    for height in 1..=300 {
        let own = signed(&subnet, 0, &statement(&subnet, height, b"root"));
        let Collected::Complete(attestation) = pool.add_own(own.clone()).unwrap() else {
            panic!("not complete");
        };
        attestation.verify(&subnet.genesis).unwrap();
        assert_eq!(pool.add_own(own).unwrap(), Collected::Known);
    }
    assert_eq!((pool.complete_to(), pool.held()), (300, 0));
}

#[test]
fn a_quorum_is_complete_whatever_the_order() {
    let subnet = Subnet::new(4, "x");
    let s = statement(&subnet, 1, b"root");
    for own_at in 0..3 {
        let mut pool = AttestationPool::new(subnet.genesis.clone(), 0).unwrap();
        let mut complete = Vec::new();
        for member in 0..4 {
            // Member `own_at` is this node; the others' come before and after.
            let item = signed(&subnet, member, &s);
            let result = if member == own_at { pool.add_own(item).unwrap() } else { pool.add(item) };
            if let Collected::Complete(attestation) = result {
                attestation.verify(&subnet.genesis).unwrap();
                complete.push((member, attestation.signatures.len()));
            }
        }
        assert_eq!(complete, [(2, 3)], "exactly once, with the third of four");
        assert_eq!((pool.complete_to(), pool.held()), (1, 0));
    }
}

#[test]
fn others_alone_complete_nothing() {
    let subnet = Subnet::new(4, "x");
    let s = statement(&subnet, 1, b"root");
    let mut pool = AttestationPool::new(subnet.genesis.clone(), 0).unwrap();
    for member in 1..4 {
        assert_eq!(pool.add(signed(&subnet, member, &s)), Collected::Counted { have: 0, need: 3 });
    }
    assert!(
        matches!(pool.add_own(signed(&subnet, 0, &s)).unwrap(), Collected::Complete(a) if a.signatures.len() == 4)
    );
}

#[test]
fn what_does_not_count_is_refused() {
    let subnet = Subnet::new(4, "x");
    let s = statement(&subnet, 1, b"root");
    let mut pool = AttestationPool::new(subnet.genesis.clone(), 0).unwrap();
    let good = signed(&subnet, 1, &s);
    let refused = |c: Collected| matches!(c, Collected::Refused(_));
    assert!(refused(pool.add(SignedStatement { member: 2, ..good.clone() })), "another member's signature");
    assert!(refused(pool.add(SignedStatement { member: 9, ..good.clone() })), "no member");
    let mut bent = good.clone();
    bent.signature[5] ^= 1;
    assert!(refused(pool.add(bent)), "a bent signature");
    let other = Statement { epoch: 1, ..s.clone() };
    assert!(refused(pool.add(signed(&subnet, 1, &other))), "another epoch");
    let far = statement(&subnet, 1 + WINDOW, b"root");
    assert!(refused(pool.add(signed(&subnet, 1, &far))), "too far ahead");
    assert_eq!(pool.held(), 0, "nothing of it is kept");
    assert_eq!(pool.add(good.clone()), Collected::Counted { have: 0, need: 3 });
    assert_eq!(pool.add(good), Collected::Known);
}

#[test]
fn two_statements_of_one_member_are_evidence() {
    let subnet = Subnet::new(4, "x");
    let (a, b) = (statement(&subnet, 1, b"a"), statement(&subnet, 1, b"b"));
    let mut pool = AttestationPool::new(subnet.genesis.clone(), 0).unwrap();
    pool.add(signed(&subnet, 1, &a));
    let Collected::Equivocation(both) = pool.add(signed(&subnet, 1, &b)) else { panic!("not noticed") };
    both.0.verify(&subnet.genesis).unwrap();
    both.1.verify(&subnet.genesis).unwrap();
    assert_ne!(both.0.statement, both.1.statement);
    // This node itself is not allowed a second one either.
    pool.add_own(signed(&subnet, 0, &a)).unwrap();
    assert_eq!(pool.add_own(signed(&subnet, 0, &b)).unwrap_err().kind(), ErrorKind::Equivocation);
}

#[test]
fn a_quorum_for_another_result_is_a_divergence_once() {
    let subnet = Subnet::new(4, "x");
    let (ours, theirs) = (statement(&subnet, 1, b"ours"), statement(&subnet, 1, b"theirs"));
    let mut pool = AttestationPool::new(subnet.genesis.clone(), 0).unwrap();
    pool.add_own(signed(&subnet, 0, &ours)).unwrap();
    assert_eq!(pool.add(signed(&subnet, 1, &theirs)), Collected::Counted { have: 1, need: 3 });
    pool.add(signed(&subnet, 2, &theirs));
    let Collected::Diverged(divergence) = pool.add(signed(&subnet, 3, &theirs)) else {
        panic!("not noticed")
    };
    assert_eq!(divergence.ours, ours);
    assert_eq!(divergence.theirs.statement, theirs);
    divergence.theirs.verify(&subnet.genesis).unwrap();
    assert_eq!(pool.complete_to(), 0, "a height that differs is never complete");
}

#[test]
fn memory_is_bounded_and_the_node_is_told_to_wait() {
    let subnet = Subnet::new(4, "x");
    let mut pool = AttestationPool::new(subnet.genesis.clone(), 0).unwrap();
    for height in 1..=WINDOW {
        pool.add_own(signed(&subnet, 0, &statement(&subnet, height, b"root"))).unwrap();
    }
    let next = signed(&subnet, 0, &statement(&subnet, WINDOW + 1, b"root"));
    assert_eq!(pool.add_own(next.clone()).unwrap_err().kind(), ErrorKind::Full);
    assert!(pool.own(1, 0).is_some());
    for member in 1..3 {
        pool.add(signed(&subnet, member, &statement(&subnet, 1, b"root")));
    }
    assert!(pool.own(1, 0).is_none());
    pool.add_own(next).unwrap();
    assert_eq!(pool.held(), WINDOW as usize);
}
