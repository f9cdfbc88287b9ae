//! What handlers read of chains: asked once, agreed on, and the same for whoever executes.

use w3bstream_chain_dev::dev_key;
use w3bstream_journal::Journal as _;
use w3bstream_types::{Canonical as _, ChainRule, Entry, Transcript};

use super::*;

/// A contract that returns the height of the block in which it is called, and reverts if it is called with nothing.
fn clock() -> Vec<u8> {
    // JUMPI over a REVERT if there is call data; MSTORE(0, NUMBER); RETURN(0, 32).
    let runtime =
        [0x36, 0x60, 0x08, 0x57, 0x60, 0, 0x80, 0xfd, 0x5b, 0x43, 0x60, 0, 0x52, 0x60, 32, 0x60, 0, 0xf3];
    let size = u8::try_from(runtime.len()).unwrap();
    [&[0x60, size, 0x80, 0x60, 11, 0x60, 0, 0x39, 0x60, 0, 0xf3], &runtime[..]].concat()
}

impl World {
    async fn deploy_reading(&self, run: &Run, confirmations: u32) -> ProjectId {
        let contract = self.chain.transact(&dev_key(0), None, clock()).unwrap().created.unwrap();
        let manifest = Manifest {
            env: vec![("contract".into(), contract.to_string())],
            chains: vec![ChainRule {
                chain_id: 31_337,
                read: true,
                send: false,
                confirmations,
                operators: vec![],
            }],
            ..self.manifest(AckMode::Executed, &["reads"])
        };
        let project = manifest.project();
        run.pipeline.put_program(b"reads".to_vec()).await.unwrap();
        self.change(run, project, Control::Deploy(Box::new(manifest))).await.unwrap();
        self.change(run, project, register(&self.device)).await.unwrap();
        project
    }

    async fn answer(&self, run: &Run, project: ProjectId) -> Vec<u8> {
        run.pipeline
            .applet_value(project, (&"reads".parse().unwrap(), None), b"answer")
            .await
            .unwrap()
            .unwrap()
    }

    /// The transcripts of all blocks, by height.
    async fn transcripts(&self, project: ProjectId) -> Vec<(u64, Transcript)> {
        let journal = self.journal.reopen();
        let mut found = Vec::new();
        for height in 1..=journal.last_height(project).await.unwrap() {
            let block = journal.block(project, height).await.unwrap().unwrap().block;
            for entry in block.entries() {
                if let Entry::Transcript(id) = entry {
                    let key = id.as_bytes().to_vec();
                    let record = w3bstream_journal::RecordId { project, space: "transcripts", key };
                    let bytes = journal.record(&record).await.unwrap().unwrap();
                    found.push((height, Transcript::from_canonical(&bytes).unwrap()));
                }
            }
        }
        found
    }
}

fn number(height: u64) -> Vec<u8> {
    let mut word = vec![0; 24];
    word.extend(height.to_be_bytes());
    word
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_reads_a_contract_and_the_block_keeps_the_answer() {
    let world = World::new();
    let run = world.start().await;
    let project = world.deploy_reading(&run, 3).await;
    for _ in 0..5 {
        world.chain.mine();
    }
    let id = world.message(project, 1).id();
    run.send(world.message(project, 1)).await.unwrap();
    let seen = world.chain.height() - 2;
    assert_eq!(
        world.answer(&run, project).await,
        number(seen),
        "three confirmations, the block's own included"
    );
    let transcripts = world.transcripts(project).await;
    let [(height, transcript)] = transcripts.as_slice() else { panic!("{transcripts:?}") };
    let [read] = transcript.reads() else { panic!("{transcript:?}") };
    assert_eq!(read.answer, ContractAnswer::Returned(number(seen)));
    let block =
        w3bstream_chain::Chain::block(&*world.chain, w3bstream_chain::BlockId::Number(seen)).await.unwrap();
    assert_eq!(&read.block.0, block.unwrap().hash.as_bytes(), "the transcript says in which block");
    run.reaches(id, MessageState::Attested).await;
    let receipt =
        run.pipeline.receipt(id, ReceiptContent { payload: false, settlements: false }).await.unwrap();
    assert_eq!(receipt.ordering.header.height, *height);
    assert!(receipt.verify(None).first_broken().is_none(), "{:?}", receipt.verify(None));

    // Many at once: one batch is under way at a time, and none is lost.
    world.chain.mine();
    let sent = (2..40).map(|n| run.send(world.message(project, n)));
    for answer in futures_util::future::join_all(sent).await {
        assert_eq!(answer.unwrap().mode, AckMode::Executed);
    }
    assert_eq!(world.answer(&run, project).await, number(seen + 1));
    let count =
        run.pipeline.applet_value(project, (&"reads".parse().unwrap(), None), b"count").await.unwrap();
    assert_eq!(count, Some(vec![39]), "nothing ran twice");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_does_not_answer_holds_the_batch_up_with_its_reason() {
    let world = World::new();
    let run = world.start().await;
    let project = world.deploy_reading(&run, 1).await;
    world.line.set_troubles(Troubles { lost: 100, ..Troubles::default() });
    let mut sending = Box::pin(run.send(world.message(project, 1)));
    let early = tokio::time::timeout(Duration::from_millis(1_500), &mut sending).await;
    assert!(early.is_err(), "it was answered without the chain: {early:?}");
    let status = run.pipeline.projects().remove(0);
    assert!(status.reason.contains("waits for what handlers read"), "{status:?}");
    world.line.set_troubles(Troubles::default());
    assert_eq!(sending.await.unwrap().mode, AckMode::Executed);
    assert_eq!(world.answer(&run, project).await, number(world.chain.height()));

    // Half a minute later it goes on without: the handler is told that it has no answer.
    world.line.set_troubles(Troubles { lost: 100, ..Troubles::default() });
    let mut sending = Box::pin(run.send(world.message(project, 2)));
    let early = tokio::time::timeout(Duration::from_millis(200), &mut sending).await;
    assert!(early.is_err(), "{early:?}");
    world.clock.0.fetch_add(31_000, Ordering::SeqCst);
    // Nobody waits so long for an acknowledgement.
    let _ = sending.await;
    run.reaches(world.message(project, 2).id(), MessageState::Attested).await;
    assert_eq!(world.answer(&run, project).await, b"unknown");
    assert_eq!(world.transcripts(project).await.len(), 1, "an answer that is not there is in no transcript");
    let status = run.pipeline.projects().remove(0);
    assert!(!status.reason.contains("waits for what handlers read"), "{status:?}");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_reverts_is_agreed_on_and_what_is_not_allowed_is_not_asked() {
    let world = World::new();
    let run = world.start().await;
    let project = world.deploy_reading(&run, 1).await;
    let mut empty = world.message(project, 1);
    if let Form::Envelope(envelope) = empty.form() {
        let draft = Draft {
            audience: project,
            key: envelope.header().key.clone(),
            event_type: envelope.header().event_type.clone(),
            sequence: Sequence::new(0, 1),
            time: Timestamp(1),
            payload: vec![],
        };
        empty = Record::new(Form::Envelope(draft.sign_envelope([0; 16], &world.device)));
    }
    run.send(empty).await.unwrap();
    assert_eq!(world.answer(&run, project).await, b"reverts");
    let transcripts = world.transcripts(project).await;
    assert!(matches!(&transcripts[0].1.reads()[0].answer, ContractAnswer::Reverted(data) if data.is_empty()));
    // A chain that the node does not have is refused when it is deployed.
    let elsewhere = ChainRule { chain_id: 5, read: true, send: false, confirmations: 1, operators: vec![] };
    let manifest =
        Manifest { version: 2, chains: vec![elsewhere], ..world.manifest(AckMode::Executed, &["reads"]) };
    let refused = world.change(&run, project, Control::Deploy(Box::new(manifest))).await.unwrap_err();
    assert!(refused.contains("[[chains]]") && refused.contains("id = 5"), "{refused}");
    run.stop().await;
}
