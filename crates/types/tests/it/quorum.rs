//! Quorums, and that nothing is agreed without one.

use w3bstream_types::*;

use crate::sample::{self, Scenario, Subnet};

#[test]
fn any_two_quorums_share_an_honest_member() {
    for n in 1..=200 {
        let (q, f) = (quorum(n), (n - 1) / 3);
        assert!(2 * q - n > f, "two quorums of {n} share only faulty members");
        assert!(q <= n - f, "the honest members of {n} are no quorum");
        // None smaller will do.
        assert!(2 * (q - 1) < n + f + 1, "{n}");
    }
    assert_eq!([1, 2, 3, 4, 5, 6, 7, 10].map(quorum), [1, 2, 2, 3, 4, 4, 5, 7]);
    assert_eq!(quorum(0), 1, "nobody agrees on nothing");
}

#[test]
fn a_genesis_without_members_certifies_nothing() {
    let mut scenario = Scenario::new(1, 0);
    scenario.subnet.genesis.members.clear();
    let genesis = &scenario.subnet.genesis;
    let mut header = scenario.block.block.header().clone();
    header.genesis = genesis.digest();
    let certificate = Certificate { epoch: 2, height: 7, block: header.digest(), signatures: Vec::new() };
    assert!(certificate.verify(genesis, &header).is_err());
    let mut attestation = scenario.attestation.clone();
    attestation.statement.genesis = genesis.digest();
    assert!(attestation.verify(genesis).is_err());
    assert!(genesis.check().is_err());
}

#[test]
fn certificates_and_attestations_need_a_quorum_of_members_each_once() {
    for (members, signers, ok) in
        [(1, 1, true), (4, 3, true), (4, 4, true), (4, 2, false), (5, 3, false), (5, 4, true)]
    {
        let s = Scenario::new(members, signers);
        let header = s.block.block.header();
        assert_eq!(s.block.certificate.verify(&s.subnet.genesis, header).is_ok(), ok, "{members} {signers}");
        assert_eq!(s.attestation.verify(&s.subnet.genesis).is_ok(), ok, "{members} {signers}");
    }
    let s = Scenario::new(4, 3);
    let (genesis, header) = (&s.subnet.genesis, s.block.block.header());
    let certificate = |change: fn(&mut Vec<(u32, [u8; 64])>)| {
        let mut c = s.block.certificate.clone();
        change(&mut c.signatures);
        c.verify(genesis, header)
    };
    assert!(certificate(|_| ()).is_ok());
    assert!(certificate(|list| list[1] = list[0]).is_err(), "twice");
    assert!(certificate(|list| list.swap(0, 1)).is_err(), "order");
    assert!(certificate(|list| list[2].0 = 3).is_err(), "another's place");
    assert!(certificate(|list| list[2].0 = 4).is_err(), "no member");
    let attestation = |change: fn(&mut Attestation)| {
        let mut a = s.attestation.clone();
        change(&mut a);
        a.verify(genesis)
    };
    assert!(attestation(|_| ()).is_ok());
    assert!(attestation(|a| a.signatures[1] = a.signatures[0]).is_err(), "twice");
    assert!(attestation(|a| a.signatures[2].0 = 9).is_err(), "no member");
    assert!(attestation(|a| a.statement.epoch = 3).is_err(), "epoch");
    // Signed by all, but of another subnet.
    let mut elsewhere = s.attestation.statement.clone();
    elsewhere.subnet = ProjectId(Digest::of(b"another"));
    assert!(s.subnet.attest(elsewhere, 4).verify(genesis).is_err());
}

#[test]
fn a_proposer_must_be_a_member() {
    let subnet = Subnet::new(1);
    let place = Place {
        genesis: subnet.genesis.digest(),
        epoch: 2,
        height: 1,
        parent: Digest::ZERO,
        time: Timestamp(1),
        proposer: 1,
    };
    let certified = subnet.certify(Block::new(place, vec![]), 1);
    assert!(certified.certificate.verify(&subnet.genesis, certified.block.header()).is_err());
}

#[test]
fn a_genesis_lists_sorted_members_whose_keys_vouch_for_each_other() {
    let good = Subnet::new(4).genesis;
    good.check().unwrap();
    type Change = (&'static str, fn(&mut Genesis));
    let broken: [Change; 6] = [
        ("order", |g| g.members.swap(0, 1)),
        ("twice", |g| g.members[1] = g.members[0].clone()),
        ("another's key", |g| g.members[0].attestation = g.members[1].attestation.clone()),
        ("no vouching", |g| g.members[0].by_consensus[7] ^= 1),
        ("no vouching back", |g| g.members[0].by_attestation[7] ^= 1),
        ("another name", |g| g.members[0].did = "did:key:z0".parse().unwrap()),
    ];
    for (what, change) in broken {
        let mut genesis = good.clone();
        change(&mut genesis);
        assert!(genesis.check().is_err(), "{what}");
    }
    // One operator under two names: each name vouches, but with the same key.
    let (consensus, attestation) = (sample::key(Algorithm::EdDSA, 100), sample::key(Algorithm::ES256K, 100));
    let twice =
        ["did:web:a", "did:web:b"].map(|d| Member::sign(d.parse().unwrap(), &consensus, &attestation));
    let genesis = Genesis { members: twice.into(), ..good };
    assert!(genesis.check().unwrap_err().to_string().contains("shares a key"));
}
