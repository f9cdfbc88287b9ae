use serde::Deserialize;
use w3bstream_types::{Block, Canonical, Certificate, Entry, Malformed, Place, Statement};

use super::*;
use crate::conformance::{FixedLeader, Subnet};
use crate::{
    Built, Claim, Consensus, Context, FileWal, MemoryDisk, Output, Outputs, Profile, Recovery, Slot, Solo,
    factory,
};

fn entry(n: u64) -> Entry {
    Entry::Control(Digest::of(&n.to_be_bytes()))
}

fn setup<C: Consensus>(subnet: &Subnet, me: u32) -> Setup {
    Setup::new(subnet.genesis.clone(), Some(me), factory::<C>(), subnet.signer(me))
}

fn open_solo(disk: &MemoryDisk) -> Driver {
    let subnet = Subnet::new(1, "solo");
    Driver::open(setup::<Solo>(&subnet, 0), Box::new(disk.open().unwrap())).unwrap()
}

fn request(actions: &[Action]) -> BuildRequest {
    let found = actions.iter().find_map(|a| if let Action::Build(r) = a { Some(*r) } else { None });
    found.expect("a request to build")
}

fn committed(actions: &[Action]) -> Vec<CertifiedBlock> {
    let block = |a: &Action| if let Action::Committed(b) = a { Some((**b).clone()) } else { None };
    actions.iter().filter_map(block).collect()
}

/// One block with one entry.
fn make_block(driver: &mut Driver, n: u64) -> CertifiedBlock {
    let request = request(&driver.handle(Timestamp(n), DriverInput::Pending).unwrap());
    let built = Built { slot: request.slot, entries: vec![entry(n)], time: Timestamp(n) };
    committed(&driver.handle(Timestamp(n), DriverInput::Built(built)).unwrap()).remove(0)
}

fn applied(height: u64) -> DriverInput {
    DriverInput::Applied { height, state_root: Digest::ZERO }
}

fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn genesis_key_place_and_backend_must_fit() {
    let subnet = Subnet::new(1, "solo");
    let four = Subnet::new(4, "solo");
    let wal = || Box::new(MemoryDisk::new().open().unwrap());
    let good = setup::<Solo>(&subnet, 0);
    let with = |change: fn(&mut Setup)| {
        let mut setup = good.clone();
        change(&mut setup);
        Driver::open(setup, wal()).unwrap_err()
    };
    assert_eq!(kind(Driver::open(setup::<Solo>(&four, 0), wal())), ErrorKind::Config);
    assert_eq!(kind(Driver::open(setup::<FixedLeader>(&subnet, 0), wal())), ErrorKind::Config);
    assert!(with(|s| s.me = Some(1)).to_string().contains("no member 1"));
    assert!(with(|s| s.me = None).to_string().contains("only its member"));
    assert!(with(|s| s.signer = Subnet::new(4, "x").signer(2)).to_string().contains("not that of member 0"));
    assert!(with(|s| s.config = serde_json::json!({"max-in-flght": 3})).to_string().contains("max-in-flght"));
    assert!(with(|s| s.config = serde_json::json!({"max-in-flight": 0})).to_string().contains("1 to 1024"));
    Driver::open(good, wal()).unwrap();
}

#[test]
fn the_log_of_another_member_is_refused() {
    let subnet = Subnet::new(4, FixedLeader::NAME);
    let disk = MemoryDisk::new();
    Driver::open(setup::<FixedLeader>(&subnet, 0), Box::new(disk.open().unwrap())).unwrap();
    let other = Driver::open(setup::<FixedLeader>(&subnet, 1), Box::new(disk.open().unwrap()));
    assert_eq!(kind(other), ErrorKind::Incompatible);
}

#[test]
fn many_inputs_share_one_sync() {
    let disk = MemoryDisk::new();
    let mut driver = open_solo(&disk);
    let start = vec![DriverInput::Start { applied: 0 }, DriverInput::Pending];
    let mut slot = request(&driver.handle_batch(Timestamp(1), start).unwrap()).slot;
    let before = disk.syncs();
    for n in 0..5 {
        let built = DriverInput::Built(Built { slot, entries: vec![entry(n)], time: Timestamp(1) });
        let inputs = vec![DriverInput::Tick, built, DriverInput::Pending, DriverInput::Pending];
        let actions = driver.handle_batch(Timestamp(n), inputs).unwrap();
        assert_eq!(committed(&actions).len(), 1);
        slot = request(&actions).slot;
        assert_eq!(slot.height, n + 2);
        assert_eq!(disk.syncs(), before + n + 1);
    }
    for _ in 0..5 {
        driver.handle(Timestamp(9), DriverInput::Tick).unwrap();
    }
    assert_eq!(disk.syncs(), before + 5, "what decides nothing writes nothing");
}

#[test]
fn an_answer_to_no_request_is_ignored() {
    let mut driver = open_solo(&MemoryDisk::new());
    driver.handle(Timestamp(1), DriverInput::Start { applied: 0 }).unwrap();
    let first = request(&driver.handle(Timestamp(1), DriverInput::Pending).unwrap()).slot;
    let built = |slot, n| DriverInput::Built(Built { slot, entries: vec![entry(n)], time: Timestamp(5) });
    assert_eq!(committed(&driver.handle(Timestamp(1), built(first, 1)).unwrap()).len(), 1);
    assert_eq!(driver.handle(Timestamp(1), built(first, 2)).unwrap(), []);
    assert_eq!(driver.status().tip.height, 1);
}

#[test]
fn it_orders_no_further_ahead_than_the_settings_allow() {
    let subnet = Subnet::new(1, "solo");
    let mut setup = setup::<Solo>(&subnet, 0);
    setup.config = serde_json::json!({"max-in-flight": 2});
    let mut driver = Driver::open(setup, Box::new(MemoryDisk::new().open().unwrap())).unwrap();
    driver.handle(Timestamp(1), DriverInput::Start { applied: 0 }).unwrap();
    make_block(&mut driver, 1);
    make_block(&mut driver, 2);
    assert_eq!(driver.handle(Timestamp(3), DriverInput::Pending).unwrap(), []);
    let actions = driver.handle(Timestamp(3), applied(1)).unwrap();
    assert_eq!(request(&actions).slot.height, 3, "the wish was not forgotten");
    assert_eq!((driver.status().applied, driver.status().unapplied), (1, 1));
}

#[test]
fn wrong_inputs_are_refused_and_change_nothing() {
    let mut driver = open_solo(&MemoryDisk::new());
    assert_eq!(kind(driver.handle(Timestamp(1), DriverInput::Pending)), ErrorKind::Input);
    let start = DriverInput::Start { applied: 0 };
    driver.handle(Timestamp(1), start.clone()).unwrap();
    assert_eq!(kind(driver.handle(Timestamp(1), start)), ErrorKind::Input);
    assert_eq!(kind(driver.handle(Timestamp(1), applied(1))), ErrorKind::Input);
    assert_eq!(
        kind(driver.handle(Timestamp(1), DriverInput::Peer { member: 1, up: true })),
        ErrorKind::Input
    );
    let slot = request(&driver.handle(Timestamp(1), DriverInput::Pending).unwrap()).slot;
    let large = Built { slot, entries: vec![entry(0); MAX_BLOCK_ENTRIES + 1], time: Timestamp(1) };
    // The first input of the batch is good, but a batch is taken as a whole or not at all.
    let batch = vec![DriverInput::Tick, DriverInput::Built(large)];
    assert_eq!(kind(driver.handle_batch(Timestamp(1), batch)), ErrorKind::Input);
    let built = Built { slot, entries: vec![entry(0)], time: Timestamp(1) };
    assert_eq!(committed(&driver.handle(Timestamp(1), DriverInput::Built(built)).unwrap()).len(), 1);
}

#[test]
fn a_chain_goes_on_on_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let subnet = Subnet::new(1, "solo");
    let mut parent = Digest::ZERO;
    for run in 0..4 {
        let mut setup = setup::<Solo>(&subnet, 0);
        setup.options = DriverOptions { check_determinism: true, compact_bytes: 3_000 };
        let mut driver = Driver::open(setup, Box::new(FileWal::open(dir.path()).unwrap())).unwrap();
        let start = DriverInput::Start { applied: run * 10 };
        assert_eq!(driver.handle(Timestamp(1), start).unwrap(), []);
        for n in 1..=10 {
            let made = make_block(&mut driver, run * 10 + n);
            assert_eq!((made.block.header().height, made.block.header().parent), (run * 10 + n, parent));
            parent = made.block.id();
            driver.handle(Timestamp(1), applied(run * 10 + n)).unwrap();
        }
        assert!(driver.status().log_bytes < 12_000, "{:?}", driver.status());
    }
}

#[test]
fn a_new_log_may_start_behind_a_known_block() {
    let subnet = Subnet::new(1, "solo");
    let mut setup = setup::<Solo>(&subnet, 0);
    setup.base = Tip { height: 7, id: Digest::of(b"seven"), time: Timestamp(50_000) };
    let mut driver = Driver::open(setup, Box::new(MemoryDisk::new().open().unwrap())).unwrap();
    driver.handle(Timestamp(1), DriverInput::Start { applied: 7 }).unwrap();
    let made = make_block(&mut driver, 8);
    let header = made.block.header();
    assert_eq!((header.height, header.parent, header.time), (8, Digest::of(b"seven"), Timestamp(50_000)));
}

fn statement(subnet: &Subnet, height: u64, root: &[u8]) -> DriverInput {
    DriverInput::Attest(Box::new(Statement {
        subnet: subnet.genesis.project,
        genesis: subnet.digest(),
        epoch: 0,
        height,
        block: Digest::ZERO,
        manifest: Digest::ZERO,
        state_root: Digest::of(root),
        outputs_root: Digest::ZERO,
    }))
}

#[test]
fn one_attestation_per_height_even_after_a_crash() {
    let (subnet, disk) = (Subnet::new(1, "solo"), MemoryDisk::new());
    let mut driver = open_solo(&disk);
    driver.handle(Timestamp(1), DriverInput::Start { applied: 0 }).unwrap();
    assert_eq!(kind(driver.handle(Timestamp(1), statement(&subnet, 1, b"a"))), ErrorKind::Input);
    make_block(&mut driver, 1);
    let other = Subnet::new(4, "solo");
    assert_eq!(kind(driver.handle(Timestamp(1), statement(&other, 1, b"a"))), ErrorKind::Input);
    let first = driver.handle(Timestamp(1), statement(&subnet, 1, b"a")).unwrap();
    assert!(matches!(&first[..], [Action::SignAttestation(_)]));
    assert_eq!(driver.handle(Timestamp(1), statement(&subnet, 1, b"a")).unwrap(), first);
    disk.crash(crate::Damage::Lost);
    let mut driver = open_solo(&disk);
    driver.handle(Timestamp(1), DriverInput::Start { applied: 1 }).unwrap();
    assert_eq!(driver.handle(Timestamp(1), statement(&subnet, 1, b"a")).unwrap(), first);
    assert_eq!(kind(driver.handle(Timestamp(1), statement(&subnet, 1, b"b"))), ErrorKind::Equivocation);
    assert_eq!(
        kind(driver.handle(Timestamp(1), DriverInput::Tick)),
        ErrorKind::Equivocation,
        "it stays stopped"
    );
}

/// A leader of four that has proposed a block.
fn leader() -> (Subnet, MemoryDisk, Driver, Vec<Action>) {
    let (subnet, disk) = (Subnet::new(4, FixedLeader::NAME), MemoryDisk::new());
    let mut driver = Driver::open(setup::<FixedLeader>(&subnet, 0), Box::new(disk.open().unwrap())).unwrap();
    driver.handle(Timestamp(1), DriverInput::Start { applied: 0 }).unwrap();
    let slot = request(&driver.handle(Timestamp(1_000), DriverInput::Pending).unwrap()).slot;
    let built = DriverInput::Built(Built { slot, entries: vec![entry(1)], time: Timestamp(1) });
    // The clock was set back: for the driver it is still 1,000.
    let actions = driver.handle(Timestamp(5), built).unwrap();
    (subnet, disk, driver, actions)
}

#[test]
fn timers_run_on_the_callers_clock_which_never_goes_back() {
    let (_, _, mut driver, actions) = leader();
    let sends = |actions: &[Action]| actions.iter().filter(|a| matches!(a, Action::Send { .. })).count();
    assert_eq!(sends(&actions), 1);
    // The proposal came back to the leader, which asks its own host to judge it.
    assert!(actions.iter().any(|a| matches!(a, Action::Validate(_))));
    assert_eq!(actions.last(), Some(&Action::WakeAt(Timestamp(1_100))));
    assert_eq!(driver.next_wake(), Some(Timestamp(1_100)));
    assert_eq!(driver.handle(Timestamp(1_099), DriverInput::Tick).unwrap(), []);
    let again = driver.handle(Timestamp(1_100), DriverInput::Tick).unwrap();
    assert_eq!((sends(&again), again.last()), (1, Some(&Action::WakeAt(Timestamp(1_200)))));
    // A clock that was set back neither stops the timers nor runs them early.
    assert_eq!(driver.handle(Timestamp(5), DriverInput::Tick).unwrap(), []);
    assert_eq!(driver.next_wake(), Some(Timestamp(1_200)));
    assert_eq!(
        sends(&driver.handle(Timestamp(9_000), DriverInput::Tick).unwrap()),
        1,
        "once, not for each 100 ms"
    );
}

#[test]
fn after_a_crash_the_same_proposal_is_sent_again() {
    let (subnet, disk, driver, actions) = leader();
    let sent = |actions: &[Action]| -> Vec<Vec<u8>> {
        let bytes = |a: &Action| if let Action::Send { bytes, .. } = a { Some(bytes.clone()) } else { None };
        actions.iter().filter_map(bytes).collect()
    };
    drop(driver);
    let mut driver = Driver::open(setup::<FixedLeader>(&subnet, 0), Box::new(disk.open().unwrap())).unwrap();
    let after = driver.handle(Timestamp(2_000), DriverInput::Start { applied: 0 }).unwrap();
    assert_eq!(sent(&after).last(), sent(&actions).last());
}

#[test]
fn forged_votes_and_blocks_do_not_reach_the_backend() {
    let (subnet, _, mut driver, actions) = leader();
    let block = actions.iter().find_map(|a| if let Action::Validate(b) = a { Some(b.clone()) } else { None });
    let header = block.expect("a block").header().clone();
    let vote = |member: u32, key: usize| {
        let statement = Certificate::signing_input(&subnet.digest(), &header);
        let signature = subnet.consensus_keys[key].sign(&statement);
        let vote = crate::conformance::LeaderMessage::Vote(member, Box::new(header.clone()), signature);
        DriverInput::Message { from: member, bytes: vote.to_canonical() }
    };
    let now = Timestamp(1_000);
    let penalty = |member, fault| vec![Action::Penalise { member, fault }];
    for member in 1..4 {
        let forged = driver.handle(now, vote(member, 0)).unwrap();
        assert_eq!(forged, penalty(member, crate::Fault::BadSignature));
    }
    assert_eq!(driver.handle(now, vote(0, 0)).unwrap(), penalty(0, crate::Fault::NotMember), "that is me");
    assert_eq!(driver.status().tip.height, 0);
    assert_eq!(committed(&driver.handle_batch(now, vec![vote(1, 1), vote(1, 1), vote(2, 2)]).unwrap()), []);
    assert_eq!(committed(&driver.handle(now, vote(3, 3)).unwrap()).len(), 1);
}

#[test]
fn an_observer_follows_and_takes_only_certified_blocks() {
    let subnet = Subnet::new(1, FixedLeader::NAME);
    let place = |height, parent| Place {
        genesis: subnet.digest(),
        epoch: 0,
        height,
        parent,
        time: Timestamp(2_000),
        proposer: 0,
    };
    let certify = |block: Block, key| {
        let certificate = Certificate::sign_alone(&subnet.digest(), block.header(), key);
        CertifiedBlock { block, certificate }
    };
    let first = certify(Block::new(place(1, Digest::ZERO), vec![entry(1)]), &subnet.consensus_keys[0]);
    let second = Block::new(place(2, first.block.id()), vec![entry(2)]);
    let stranger =
        w3bstream_types::SecretKey::from_bytes(w3bstream_types::Algorithm::EdDSA, &[7; 32]).unwrap();
    let forged = certify(second.clone(), &stranger);
    let second = certify(second, &subnet.consensus_keys[0]);
    let mut setup = setup::<FixedLeader>(&subnet, 0);
    setup.me = None;
    let mut driver = Driver::open(setup, Box::new(MemoryDisk::new().open().unwrap())).unwrap();
    let start = driver.handle(Timestamp(1), DriverInput::Start { applied: 0 }).unwrap();
    assert!(matches!(start[..], [Action::Fetch { from: 1, .. }]), "{start:?}");
    let mut fetched = |blocks: &[&CertifiedBlock]| {
        let blocks = blocks.iter().map(|b| (*b).clone()).collect();
        committed(&driver.handle(Timestamp(2), DriverInput::Fetched(blocks)).unwrap())
    };
    assert_eq!(fetched(&[&second]), [], "there is a gap before it");
    assert_eq!(fetched(&[&first, &forged]), std::slice::from_ref(&first));
    assert_eq!(fetched(&[&first, &second]), [second]);
}

/// A backend that misbehaves on the first word that there is something to order.
#[derive(Debug)]
struct Scripted(Trick);

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
enum Trick {
    #[default]
    Halt,
    Equivocate,
    TalkForEver,
    SignAsAttester,
    PersistTooMuch,
    Say(String),
}

#[derive(Clone, Debug)]
struct Note(Vec<u8>);

impl Canonical for Note {
    const DOMAIN: &'static str = "test/note";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 1;

    fn encode_fields(&self, e: &mut w3bstream_types::Encoder) {
        e.bytes(&self.0);
    }

    fn decode_fields(d: &mut w3bstream_types::Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self(d.bytes()?.to_vec()))
    }
}

impl Consensus for Scripted {
    const NAME: &'static str = "scripted";
    const WIRE_VERSION: u16 = 1;
    const MAX_MESSAGE_BYTES: usize = 100;
    type Config = Trick;
    type Message = Note;
    type Record = Note;

    fn profile(_: &Trick, genesis: &Genesis) -> Result<Profile, Error> {
        Solo::profile(&crate::SoloConfig::default(), genesis)
    }

    fn recover(trick: Trick, _: &Recovery<'_>, _: Vec<Note>) -> Result<Self, Error> {
        Ok(Self(trick))
    }

    fn claims(_: &Note, _: &Genesis) -> Result<Vec<Claim>, Malformed> {
        Ok(Vec::new())
    }

    fn step(&mut self, cx: &mut Context<'_>, input: Input<Note>, out: &mut Outputs<Self>) {
        let slot = |phase| Slot { epoch: 0, height: 1, phase, round: 0 };
        let say = |what: &[u8]| Output::Send { to: crate::To::All, message: Note(what.to_vec()) };
        match (&self.0, input) {
            (_, Input::Start { .. } | Input::Timer(_)) => {}
            (Trick::Halt, _) => {
                out.extend([
                    Output::Persist(Note(vec![1])),
                    Output::Halt("seen enough".into()),
                    say(b"last"),
                ]);
            }
            (Trick::Equivocate, _) => {
                assert!(cx.sign(slot(0), b"one").is_some());
                assert!(cx.sign(slot(0), b"two").is_none());
            }
            (Trick::TalkForEver, _) => out.push(say(b"again")),
            (Trick::SignAsAttester, _) => assert!(cx.sign(slot(crate::PHASE_ATTEST), b"x").is_none()),
            (Trick::Say(_), Input::Message { .. }) => {}
            (Trick::Say(what), _) => {
                if cx.sign(slot(0), what.as_bytes()).is_some() {
                    out.push(say(what.as_bytes()));
                }
            }
            (Trick::PersistTooMuch, _) => out.push(Output::Persist(Note(vec![0; 17 * 1024 * 1024]))),
        }
    }

    fn snapshot(&self) -> Vec<Note> {
        Vec::new()
    }
}

#[test]
fn a_backend_that_breaks_its_contract_is_stopped() {
    let subnet = Subnet::new(1, "scripted");
    let play = |trick: &str| {
        let disk = MemoryDisk::new();
        let mut setup = setup::<Scripted>(&subnet, 0);
        setup.config = serde_json::json!(trick);
        let mut driver = Driver::open(setup, Box::new(disk.open().unwrap())).unwrap();
        driver.handle(Timestamp(1), DriverInput::Start { applied: 0 }).unwrap();
        let before = disk.bytes();
        let result = driver.handle(Timestamp(1), DriverInput::Pending);
        assert!(driver.handle(Timestamp(1), DriverInput::Tick).is_err(), "{trick}");
        (result, disk.bytes() != before)
    };
    let (halted, written) = play("Halt");
    assert_eq!(halted.unwrap(), [Action::Halt("seen enough".into())]);
    assert!(written, "what it persisted before is there");
    for (trick, expected) in [
        ("Equivocate", ErrorKind::Equivocation),
        ("TalkForEver", ErrorKind::Protocol),
        ("SignAsAttester", ErrorKind::Protocol),
        ("PersistTooMuch", ErrorKind::Protocol),
    ] {
        let (result, written) = play(trick);
        assert_eq!(kind(result), expected, "{trick}");
        assert!(!written, "{trick} left something in the log");
    }
}

#[test]
fn the_guard_remembers_what_the_backend_forgot() {
    let (subnet, disk) = (Subnet::new(1, "scripted"), MemoryDisk::new());
    let say = |what: &str| {
        let mut setup = setup::<Scripted>(&subnet, 0);
        setup.config = serde_json::json!({ "Say": what });
        let mut driver = Driver::open(setup, Box::new(disk.open().unwrap())).unwrap();
        driver.handle(Timestamp(1), DriverInput::Start { applied: 0 }).unwrap();
        let before = disk.syncs();
        driver.handle(Timestamp(1), DriverInput::Pending).map(|_| disk.syncs() - before)
    };
    assert_eq!(say("one").unwrap(), 1, "the guard's entry is synced before the message leaves");
    disk.crash(crate::Damage::Lost);
    assert_eq!(say("one").unwrap(), 0, "it is known");
    assert_eq!(kind(say("two")), ErrorKind::Equivocation);
}

#[test]
fn a_snapshot_keeps_what_the_guard_knows() {
    let (subnet, disk) = (Subnet::new(1, "solo"), MemoryDisk::new());
    let mut setup = setup::<Solo>(&subnet, 0);
    setup.options.compact_bytes = 1;
    let mut driver = Driver::open(setup, Box::new(disk.open().unwrap())).unwrap();
    driver.handle(Timestamp(1), DriverInput::Start { applied: 0 }).unwrap();
    let (mut sizes, mut shrank) = (driver.status().log_bytes, 0);
    for height in 1..=12 {
        make_block(&mut driver, height);
        driver.handle_batch(Timestamp(1), vec![applied(height), statement(&subnet, height, b"a")]).unwrap();
        shrank += u32::from(driver.status().log_bytes < sizes);
        sizes = driver.status().log_bytes;
    }
    assert!(shrank > 1, "the log was never compacted");
    assert!(driver.status().guarded >= 24, "a commit and an attestation for each height");
    disk.crash(crate::Damage::Lost);
    let mut driver = open_solo(&disk);
    driver.handle(Timestamp(1), DriverInput::Start { applied: 12 }).unwrap();
    driver.handle(Timestamp(1), statement(&subnet, 1, b"a")).unwrap();
    assert_eq!(kind(driver.handle(Timestamp(1), statement(&subnet, 1, b"b"))), ErrorKind::Equivocation);
}

#[test]
fn a_member_that_was_away_catches_up_with_large_blocks_in_one_step() {
    let subnet = Subnet::new(1, FixedLeader::NAME);
    let mut parent = Digest::ZERO;
    let blocks: Vec<CertifiedBlock> = (1..=3)
        .map(|height| {
            let (genesis, time) = (subnet.digest(), Timestamp(2_000));
            let place = Place { genesis, epoch: 0, height, parent, time, proposer: 0 };
            let block = Block::new(place, vec![entry(height); MAX_BLOCK_ENTRIES]);
            parent = block.id();
            let certificate = Certificate::sign_alone(&genesis, block.header(), &subnet.consensus_keys[0]);
            CertifiedBlock { block, certificate }
        })
        .collect();
    let disk = MemoryDisk::new();
    let mut driver = Driver::open(setup::<FixedLeader>(&subnet, 0), Box::new(disk.open().unwrap())).unwrap();
    driver.handle(Timestamp(1), DriverInput::Start { applied: 0 }).unwrap();
    let actions = driver.handle(Timestamp(1), DriverInput::Fetched(blocks)).unwrap();
    assert_eq!(committed(&actions).len(), 3);
    let driver = Driver::open(setup::<FixedLeader>(&subnet, 0), Box::new(disk.open().unwrap())).unwrap();
    assert_eq!((driver.status().tip.height, driver.status().unapplied), (3, 3));
}
