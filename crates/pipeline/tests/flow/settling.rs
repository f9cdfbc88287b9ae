//! Settlements on their way to a contract, and what people are shown of them and of what came last.

use w3bstream_chain::{Chain as _, LogBlocks, LogFilter};
use w3bstream_chain_dev::dev_key;
use w3bstream_contracts::{deploy, register_call};
use w3bstream_pipeline::SettlementState;
use w3bstream_types::receipt::{Anchors, ChainBlock, Link, Receipt, SettlementLink, Verdict};
use w3bstream_types::{
    Address, BatchRule, MessageSettlement, ProofRule, ProofStep, Settlement, SettlementStep,
};
use w3bstream_verify::Proofs;

use super::*;

impl World {
    /// Contracts on the chain, and a project whose guest settles with them.
    pub(super) async fn deploy_settling(&self, run: &Run, prover: Option<&str>) -> (ProjectId, Address) {
        self.deploy_batched(run, prover, None).await
    }

    async fn deploy_batched(
        &self,
        run: &Run,
        prover: Option<&str>,
        batch: Option<BatchRule>,
    ) -> (ProjectId, Address) {
        let mut manifest = self.manifest(AckMode::Durable, &["settles"]);
        // Whose private inputs are a proof's stands in the message.
        manifest.applets[0].partition = if prover.is_some() { Partition::Device } else { Partition::None };
        let (project, payer) = (manifest.project(), dev_key(0));
        let owner = Address::of_key(&payer.public()).unwrap();
        let create = |code| self.chain.transact(&payer, None, code).unwrap().created.unwrap();
        let registry = create(deploy::registry(&owner, 0));
        let executor = create(deploy::executor(&registry));
        let contract = create(deploy::recorder(&executor, &project));
        manifest.settlements = vec![Settlement {
            name: "note".parse().unwrap(),
            chain_id: 31_337,
            executor,
            contract,
            fields: vec!["bytes32 note".parse().unwrap()],
            // What is used as a circuit is any file that is there.
            proof: prover.map(|system| ProofRule {
                system: system.to_owned(),
                witness: Digest::of(b"settles"),
                key: Digest::of(b"settles"),
                private: "private".into(),
                batch,
            }),
        }];
        run.pipeline.put_program(b"settles".to_vec()).await.unwrap();
        self.change(run, project, Control::Deploy(Box::new(manifest))).await.unwrap();
        self.change(run, project, register(&self.device)).await.unwrap();
        let genesis = run.pipeline.genesis(project).unwrap();
        self.chain.transact(&payer, Some(registry), register_call(&owner, &genesis).unwrap()).unwrap();
        self.chain.fund(run.pipeline.fee_account(project).unwrap(), 10_u128.pow(19));
        (project, executor)
    }

    /// How many outputs the Executor took.
    pub(super) async fn executed(&self, executor: Address) -> usize {
        let filter = LogFilter {
            blocks: LogBlocks::Range { from: 0, to: self.chain.height() },
            addresses: vec![executor],
            topics: vec![vec![w3bstream_chain::Hash::from_bytes(w3bstream_contracts::Settled::topic())]],
        };
        self.chain.logs(&filter).await.unwrap().len()
    }
}

impl Run {
    /// The only settlement of a message.
    async fn settlement(&self, id: MessageId) -> MessageSettlement {
        let life = self.pipeline.message(id).await.unwrap().unwrap();
        assert_eq!((life.settlements.len(), life.settlement_count), (1, 1), "{life:?}");
        life.settlements[0].clone()
    }

    fn open_settlements(&self) -> u64 {
        self.pipeline.projects()[0].counters["w3b_settlements_open"]
    }

    pub(super) async fn settled(&self, project: ProjectId, wanted: usize) {
        for _ in 0..1000 {
            let ended = self.pipeline.settlements(project, (true, None), 1000).await.unwrap();
            if ended.len() >= wanted {
                let landed =
                    |s: &w3bstream_pipeline::Settlement| matches!(s.state, SettlementState::Settled(_));
                assert!(ended.iter().all(landed), "{ended:?}");
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not settled: {:?}", self.pipeline.settlements(project, (false, None), 1000).await);
    }
}

/// The message's receipt leads to the chain's block: as claimed by itself, as proven with the block as an anchor, and not
/// with another one.
async fn shows_its_block(run: &Run, id: MessageId) {
    let receipt = |settlements| run.pipeline.receipt(id, ReceiptContent { payload: false, settlements });
    let without = receipt(false).await.unwrap();
    assert!(without.settlements.is_empty() && without.settlement_outputs().len() == 1);
    let receipt = receipt(true).await.unwrap();
    assert_eq!(receipt.settlements.len(), 1);
    let proofs = Proofs::default();
    let verdict = async |receipt: &Receipt, anchors: &Anchors| {
        let report = w3bstream_verify::verify(receipt, Some(anchors), &proofs).await;
        report.verdict(Link::Settlement).unwrap().clone()
    };
    let mut anchors = Anchors::default();
    let claimed = verdict(&receipt, &anchors).await;
    assert!(matches!(&claimed, Verdict::Claimed(by) if by.contains("31337:0x")), "{claimed}");
    let hash = w3bstream_types::keccak256(&receipt.settlements[0].header);
    anchors.blocks = vec![ChainBlock { chain_id: 31_337, hash }];
    let proven = verdict(&receipt, &anchors).await;
    assert!(matches!(proven, Verdict::Proven(_)), "{proven}");
    anchors.blocks[0].chain_id = 1;
    assert!(matches!(verdict(&receipt, &anchors).await, Verdict::Broken(_)));

    // Every member but the pointer is bound.
    let broken = async |change: &dyn Fn(&mut SettlementLink)| {
        let mut other = receipt.clone();
        change(&mut other.settlements[0]);
        let found = verdict(&other, &Anchors::default()).await;
        let same_block = matches!(&found, Verdict::Claimed(by) if by.contains(&hex::encode(hash)));
        assert!(!same_block, "{found}");
        assert_eq!(Receipt::from_json(other.to_json().unwrap().as_bytes()).unwrap(), other);
    };
    broken(&|l| l.index += 1).await;
    broken(&|l| l.transaction_index += 1).await;
    broken(&|l| l.header[40] ^= 1).await;
    broken(&|l| l.header.truncate(100)).await;
    broken(&|l| l.receipt.clear()).await;
    broken(&|l| l.receipt[0].0[60] ^= 1).await;
    let mut twice = receipt.clone();
    twice.settlements.push(twice.settlements[0].clone());
    assert!(matches!(verdict(&twice, &anchors).await, Verdict::Broken(_)));
}

#[test]
fn statements_reach_their_contract_once_across_restarts() {
    block_on(async {
        let world = World::new();
        let mut run = world.start().await;
        let (project, executor) = world.deploy_settling(&run, None).await;
        for round in 0..4 {
            for counter in 0..10 {
                run.send(world.message(project, round * 10 + counter)).await.unwrap();
            }
            // The stop comes while transactions are under way.
            run.stop().await;
            run = world.start().await;
        }
        run.settled(project, 40).await;
        assert_eq!(world.executed(executor).await, 40, "each output once");
        let under_way = run.pipeline.settlements(project, (false, None), 10).await.unwrap();
        assert!(under_way.is_empty(), "{under_way:?}");
        for counter in [0, 17, 39] {
            let id = world.message(project, counter).id();
            shows_its_block(&run, id).await;
        }
        run.stop().await;
    });
}

#[test]
fn what_cannot_be_settled_waits_with_its_reason_and_goes_on_later() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let (project, executor) = world.deploy_settling(&run, None).await;
        // A chain that mines nothing.
        world.chain.set_mining(w3bstream_chain_dev::Mining::OnDemand);
        let id = world.message(project, 0).id();
        run.send(world.message(project, 0)).await.unwrap();
        run.reaches(id, MessageState::Attested).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(run.pipeline.settlements(project, (false, None), 10).await.unwrap().len(), 1);
        assert_eq!(world.executed(executor).await, 0);
        let waiting = run.settlement(id).await;
        assert_eq!((waiting.state, waiting.proof), (SettlementStep::Waiting, ProofStep::None), "{waiting:?}");
        assert_eq!((waiting.reason.as_str(), waiting.transaction), ("its transaction is under way", None));
        assert_eq!(run.open_settlements(), 1);
        world.chain.set_mining(w3bstream_chain_dev::Mining::Instant);
        world.chain.mine();
        run.settled(project, 1).await;
        assert_eq!(world.executed(executor).await, 1);
        let settled = run.settlement(id).await;
        assert_eq!(
            (settled.state, settled.chain, settled.name.as_str()),
            (SettlementStep::Settled, 31_337, "note")
        );
        let place = (settled.height, settled.index);
        let record = run.pipeline.settlement(project, place).await.unwrap().unwrap();
        let SettlementState::Settled(landed) = record.state else { panic!("{record:?}") };
        let transaction = settled.transaction.unwrap();
        assert_eq!((transaction.hash, transaction.block), (landed.transaction, landed.block));
        assert!(transaction.gas > 50_000 && transaction.gas == landed.gas_used, "{}", transaction.gas);
        assert_eq!(record.message, Some(id), "a settlement names its message");
        assert_eq!(run.open_settlements(), 0);
        let account = run.pipeline.fee_accounts(project).pop().unwrap();
        assert_eq!(
            (account.chain, account.balance.unwrap().len()),
            (31_337, 19),
            "a little less than 10^19 wei"
        );
        run.stop().await;
    });
}

#[test]
fn a_settlement_says_what_its_proof_waits_for() {
    for (system, wanted) in
        [(TOY, "its proof is queued, 0 before it"), ("unknown", "no proof system \"unknown\"")]
    {
        block_on(async {
            let world = World::new();
            let run = world.start().await;
            let (project, _) = world.deploy_settling(&run, Some(system)).await;
            let id = world.message(project, 0).id();
            run.send(world.message(project, 0)).await.unwrap();
            run.reaches(id, MessageState::Attested).await;
            let mut found = run.settlement(id).await;
            for _ in 0..500 {
                if found.reason.contains(wanted) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
                found = run.settlement(id).await;
            }
            assert!(found.reason.contains(wanted), "{found:?}");
            assert_eq!((found.state, found.proof), (SettlementStep::Waiting, ProofStep::Waiting));
            assert_eq!(found.attempts > 0, system != TOY, "a queue is no failure: {found:?}");
            run.stop().await;
        });
    }
}

#[test]
fn what_came_last_is_known_and_bounded_across_a_restart() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let (project, _) = world.deploy_settling(&run, None).await;
        for counter in 0..60 {
            run.send(world.message(project, counter)).await.unwrap();
        }
        let id = |counter| world.message(project, counter).id();
        run.reaches(id(59), MessageState::Attested).await;
        run.send(world.message(project, 60)).await.unwrap();
        run.reaches(id(60), MessageState::Attested).await;
        run.settled(project, 61).await;
        let stranger = World { device: key(9), ..World::new() };
        run.send(stranger.message(project, 61)).await.unwrap_err();
        let newest: Vec<MessageId> = (11..=60).rev().map(id).collect();
        let check = async |run: &Run| {
            let recent = run.pipeline.recent_messages(project, 1000).await.unwrap();
            assert_eq!(recent.iter().map(|m| m.id).collect::<Vec<_>>(), newest);
            assert!(
                recent.iter().all(|m| m.state == MessageState::Attested && m.settlements == 1),
                "{recent:?}"
            );
            let devices = run.pipeline.recent_devices(project, 10);
            assert_eq!(devices.len(), 1);
            assert_eq!(
                (devices[0].sequence, devices[0].heard),
                (Some(Sequence::new(0, 60)), Some(Timestamp(5)))
            );
            let ended = run.pipeline.recent_settlements(project, 1000).await.unwrap();
            assert_eq!(ended.len(), 20, "the last of them");
        };
        check(&run).await;
        let refusals = run.pipeline.recent_refusals(project);
        assert_eq!(refusals.iter().map(|r| r.code).collect::<Vec<_>>(), ["unknown-device"]);
        run.stop().await;
        let run = world.start().await;
        run.reaches(id(60), MessageState::Attested).await;
        check(&run).await;
        run.stop().await;
    });
}

#[test]
fn statements_are_proven_together_when_enough_wait_or_the_first_has_waited_long_enough() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let rule = BatchRule { count: 3, max_delay_ms: 3_600_000 };
        let (project, _) = world.deploy_batched(&run, Some(TOY), Some(rule)).await;
        // How many wait for a batch, and how many are with the prover, once this many are known.
        let stand = async |known: usize, batch: usize| {
            let mut found = (0, 0);
            for _ in 0..500 {
                let open = run.pipeline.settlements(project, (false, None), 100).await.unwrap();
                let count = |words: &str| open.iter().filter(|s| s.reason.contains(words)).count();
                found = (count("until 3 statements do, or until 20"), count("prover's queue"));
                if found == (batch, known - batch) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("{found:?} instead of {batch} of {known}");
        };
        for counter in 0..2 {
            run.send(world.message(project, counter)).await.unwrap();
        }
        stand(2, 2).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        stand(2, 2).await;
        run.send(world.message(project, 2)).await.unwrap();
        stand(3, 0).await;
        run.send(world.message(project, 3)).await.unwrap();
        stand(4, 1).await;
        world.clock.0.fetch_add(3_600_001, Ordering::SeqCst);
        stand(4, 0).await;
        run.stop().await;
    });
}
