//! Transactions that guests ask for: each is sent once, and its guests are told what became of it.

use w3bstream_chain::{Chain as _, LogBlocks, LogFilter};
use w3bstream_chain_dev::dev_key;
use w3bstream_pipeline::SendState;
use w3bstream_types::{ChainRule, SentTrigger, SourceId, Trigger, TriggerOn};

use super::*;

/// A contract that emits what it is called with, and reverts if it is called with nothing.
fn contract() -> Vec<u8> {
    // JUMPI over a REVERT if there is call data; CALLDATACOPY(0, 0, size); LOG0(0, size).
    let runtime = [
        0x36, 0x60, 0x08, 0x57, 0x60, 0, 0x80, 0xfd, 0x5b, 0x36, 0x60, 0, 0x60, 0, 0x37, 0x36, 0x60, 0, 0xa0,
        0,
    ];
    let size = u8::try_from(runtime.len()).unwrap();
    [&[0x60, size, 0x80, 0x60, 11, 0x60, 0, 0x39, 0x60, 0, 0xf3], &runtime[..]].concat()
}

impl World {
    async fn deploy_sending(&self, run: &Run, operator: Option<&str>) -> (ProjectId, Address) {
        let contract = self.chain.transact(&dev_key(0), None, contract()).unwrap().created.unwrap();
        let mut env = vec![("contract".into(), contract.to_string())];
        env.extend(operator.map(|name| ("operator".to_owned(), name.to_owned())));
        let states = Trigger {
            name: "sent".parse().unwrap(),
            event_type: "sent".parse().unwrap(),
            on: TriggerOn::Sent(SentTrigger {}),
        };
        let manifest = Manifest {
            env,
            chains: vec![ChainRule {
                chain_id: 31_337,
                read: false,
                send: true,
                confirmations: 1,
                operators: operator.iter().map(|name| name.parse().unwrap()).collect(),
            }],
            triggers: vec![states],
            ..self.manifest(AckMode::Executed, &["sends"])
        };
        let project = manifest.project();
        run.pipeline.put_program(b"sends".to_vec()).await.unwrap();
        self.change(run, project, Control::Deploy(Box::new(manifest))).await.unwrap();
        self.change(run, project, register(&self.device)).await.unwrap();
        (project, contract)
    }

    /// What the contract was called with, in the order of the chain.
    async fn effects(&self, contract: Address) -> Vec<u8> {
        let blocks = LogBlocks::Range { from: 0, to: self.chain.height() };
        let filter = LogFilter { blocks, addresses: vec![contract], topics: vec![] };
        self.chain.logs(&filter).await.unwrap().into_iter().map(|log| log.data[0]).collect()
    }

    /// What guests were told, as (state, hash), in order.
    async fn states_told(&self) -> Vec<(MessageId, serde_json::Value)> {
        let store = w3bstream_storage::Store::new(Arc::new(self.storage.reopen()));
        let all = store.scan(&Filter::default(), Position(0), 10_000).await.unwrap();
        let mine = all.iter().filter(|s| matches!(s.record().source(), SourceId::Trigger(_)));
        let told = |s: &w3bstream_types::Stored| serde_json::from_slice(s.record().payload()).unwrap();
        mine.map(|s| (s.record().id(), told(s))).collect()
    }

    /// A message with this payload; none of it if it is 0.
    fn asks(&self, project: ProjectId, byte: u8) -> Record {
        let draft = Draft {
            audience: project,
            key: Did::key(&self.device.public()).default_key_id(),
            event_type: "reading".parse().unwrap(),
            sequence: Sequence::new(0, u32::from(byte) + 1),
            time: Timestamp(1),
            payload: if byte == 0 { vec![] } else { vec![byte] },
        };
        Record::new(Form::Envelope(draft.sign_envelope([0; 16], &self.device)))
    }
}

impl Run {
    async fn sent(&self, project: ProjectId, wanted: usize) -> Vec<w3bstream_pipeline::GuestTransaction> {
        for _ in 0..1000 {
            let ended = self.pipeline.transactions(project, (true, None), 1000).await.unwrap();
            if ended.len() >= wanted {
                return ended;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not sent: {:?}", self.pipeline.transactions(project, (false, None), 1000).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guests_transaction_is_sent_once_and_its_end_comes_back_as_an_event() {
    let world = World::new();
    let run = world.start().await;
    let (project, contract) = world.deploy_sending(&run, None).await;
    world.chain.fund(run.pipeline.fee_account(project).unwrap(), 10_u128.pow(19));
    run.send(world.asks(project, 1)).await.unwrap();
    let id =
        run.pipeline.applet_value(project, (&"sends".parse().unwrap(), None), b"id").await.unwrap().unwrap();
    let id = Digest::from_slice(&id).unwrap();
    let ended = run.sent(project, 1).await;
    let found = run.pipeline.transaction(project, id).await.unwrap().unwrap();
    assert_eq!(ended, std::slice::from_ref(&found), "it is looked up by the id that the guest got");
    let SendState::Confirmed { transaction, .. } = &found.state else { panic!("{found:?}") };
    assert_eq!(world.effects(contract).await, [1]);
    let told = world.states_told().await;
    let states: Vec<_> = told.iter().map(|(_, told)| told["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["PENDING", "CONFIRMED"]);
    for (message, told) in &told {
        assert_eq!(
            (told["transactionID"].as_str(), told["hash"].as_str()),
            (Some(&*format!("0x{id}")), Some(&**transaction))
        );
        run.reaches(*message, MessageState::Attested).await;
    }
    assert!(run.pipeline.transaction(project, Digest::of(b"another")).await.unwrap().is_none());

    // Many at once, and a stop in between: each takes effect once.
    let sent = (2..=60).map(|n| run.send(world.asks(project, n)));
    for answer in futures_util::future::join_all(sent).await {
        answer.unwrap();
    }
    run.stop().await;
    let run = world.start().await;
    let ended = run.sent(project, 60).await;
    assert!(ended.iter().all(|t| matches!(t.state, SendState::Confirmed { .. })), "{ended:?}");
    let mut effects = world.effects(contract).await;
    effects.sort_unstable();
    assert_eq!(effects, (1..=60).collect::<Vec<_>>());
    let told = world.states_told().await;
    let confirmed = told.iter().filter(|(_, told)| told["state"] == "CONFIRMED").count();
    assert_eq!(confirmed, 60, "each end was told once");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_has_failed_and_what_has_no_money_waits() {
    let world = World::new();
    let run = world.start().await;
    let (project, contract) = world.deploy_sending(&run, Some("payments")).await;
    let operator = run.pipeline.operator_account(project, Some(&"payments".parse().unwrap())).unwrap();
    assert_ne!(operator, run.pipeline.fee_account(project).unwrap(), "an operator has its own account");
    run.send(world.asks(project, 1)).await.unwrap();
    let account = || {
        let all = run.pipeline.fee_accounts(project);
        all.into_iter()
            .find(|a| a.operator.is_some() && a.warnings.iter().any(|w| w.contains("send it some")))
    };
    for _ in 0..500 {
        if account().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(account().is_some(), "{:?}", run.pipeline.fee_accounts(project));
    let waiting = run.pipeline.transactions(project, (false, None), 10).await.unwrap().remove(0);
    assert!(!waiting.ended(), "{waiting:?}");
    world.chain.fund(operator, 10_u128.pow(19));
    // What the node does not know is sent again after a while.
    world.clock.0.fetch_add(20_000, Ordering::SeqCst);
    let ended = run.sent(project, 1).await;
    assert!(matches!(ended[0].state, SendState::Confirmed { .. }), "{ended:?}");
    let receipt =
        world.chain.receipt(ended[0].transaction().unwrap().parse().unwrap()).await.unwrap().unwrap();
    let sender = world.chain.transaction(receipt.transaction).await.unwrap().unwrap().from;
    assert_eq!(sender, operator);

    run.send(world.asks(project, 0)).await.unwrap();
    let ended = run.sent(project, 2).await;
    let failed = ended.iter().find(|t| t.data.is_empty()).unwrap();
    assert!(
        matches!(&failed.state, SendState::Failed { error, .. } if error.contains("revert")),
        "{failed:?}"
    );
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.effects(contract).await, [1], "it was not tried again");
    let told = world.states_told().await;
    let (_, last) = told.last().unwrap();
    assert_eq!((&last["state"], last["error"].is_string()), (&"FAILED".into(), true));
    run.stop().await;
}
