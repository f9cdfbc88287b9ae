//! A device shows its key once, and sends in its session.

use w3bstream_endpoint::Sessions as _;
use w3bstream_types::receipt::{Link, Verdict};
use w3bstream_types::{IntroductionClaims, Refusal, SourceId, Trust};

use super::*;

const HOUR: u64 = 3_600_000;

impl World {
    fn introduction(&self, project: ProjectId, nonce: &str, issued: u64) -> IntroductionClaims {
        IntroductionClaims {
            audience: project,
            device: Did::key(&self.device.public()),
            node: Did::key(&self.signer.public(Role::Node).unwrap()),
            issued,
            nonce: nonce.to_owned(),
            client: None,
        }
    }

    fn seconds(&self) -> u64 {
        self.clock.now().0 / 1000
    }

    async fn session(&self, run: &Run, project: ProjectId, nonce: &str) -> String {
        let introduction = self.introduction(project, nonce, self.seconds());
        run.open(&introduction.sign(&self.device)).await.unwrap()
    }

    fn in_session(&self, token: &str, event_id: &str, payload: u8) -> Received {
        let submission = Submission::Session {
            token: token.into(),
            event_id: event_id.into(),
            event_type: "reading".parse().unwrap(),
            time: Timestamp::NONE,
            payload: vec![payload],
        };
        Received { project: "p".parse().unwrap(), submission, received_at: self.clock.now() }
    }
}

impl Run {
    async fn open(&self, introduction: &str) -> Result<String, Refusal> {
        self.pipeline.open(&"p".parse().unwrap(), introduction).await.map(|opened| opened.token)
    }

    async fn refusal(&self, received: Received) -> RefusalKind {
        self.client.send(received).await.unwrap_err().kind
    }
}

#[test]
fn a_message_of_a_session_is_stored_ordered_executed_and_attested_and_its_receipt_says_so() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let project = world.deploy(&run, AckMode::Executed, &["counts"]).await;
        let token = world.session(&run, project, "1").await;
        let accepted = run.client.send(world.in_session(&token, "e1", 7)).await.unwrap();
        assert_eq!(accepted.results[0].code, 0);
        run.reaches(accepted.id, MessageState::Attested).await;
        let (_, item) = world.storage.reopen().get(&[accepted.id]).await.unwrap().pop().flatten().unwrap();
        let device = Did::key(&world.device.public());
        assert_eq!((item.trust, item.record.source()), (Trust::Session, SourceId::Device(device.clone())));
        // Nobody can send with what the receipt shows.
        let content = ReceiptContent { payload: true, settlements: false };
        let receipt = run.pipeline.receipt(accepted.id, content).await.unwrap();
        let json = receipt.to_json().unwrap();
        assert!(json.contains(r#""form": "session""#) && !json.contains(&token), "{json}");
        let report = receipt.verify(None);
        assert!(report.is_ok(), "{report}");
        let node = Did::key(&world.signer.public(Role::Node).unwrap());
        let words = format!("vouched by node {node} for device {device}");
        assert!(
            matches!(report.verdict(Link::Message), Some(Verdict::Claimed(by)) if by.contains(&words)),
            "{report}"
        );
        // What the device signs itself is still another message of it.
        assert!(!run.send(world.message(project, 1)).await.unwrap().duplicate);
        assert_eq!(run.pipeline.devices(project).len(), 1);
        run.stop().await;
    });
}

#[test]
fn a_repeat_in_a_renewed_session_is_the_same_message() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let project = world.deploy(&run, AckMode::Executed, &["counts"]).await;
        let (first, second) =
            (world.session(&run, project, "1").await, world.session(&run, project, "2").await);
        assert_ne!(first, second);
        let sent = run.client.send(world.in_session(&first, "e1", 7)).await.unwrap();
        for token in [&first, &second] {
            let again = run.client.send(world.in_session(token, "e1", 7)).await.unwrap();
            assert!(again.duplicate && again.id == sent.id && again.results == sent.results, "{again:?}");
        }
        assert_eq!(run.refusal(world.in_session(&second, "e1", 8)).await, RefusalKind::Conflict);
        run.stop().await;
    });
}

#[test]
fn a_revoked_devices_running_session_is_refused() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let project = world.deploy(&run, AckMode::Durable, &["counts"]).await;
        let token = world.session(&run, project, "1").await;
        run.client.send(world.in_session(&token, "e1", 1)).await.unwrap();
        let device = Did::key(&world.device.public());
        world.change(&run, project, Control::RevokeDevice(device)).await.unwrap();
        assert_eq!(run.refusal(world.in_session(&token, "e2", 1)).await, RefusalKind::Revoked);
        let again = world.introduction(project, "2", world.seconds()).sign(&world.device);
        assert_eq!(run.open(&again).await.unwrap_err().kind, RefusalKind::Revoked);
        assert_eq!(run.pipeline.check_session(&token, None).unwrap_err().kind, RefusalKind::Revoked);
        run.stop().await;
    });
}

#[test]
fn a_session_ends_and_is_this_projects_and_this_nodes() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let project = world.deploy(&run, AckMode::Executed, &["counts"]).await;
        let token = world.session(&run, project, "1").await;
        let (view, session) = run.pipeline.check_session(&token, None).unwrap();
        assert_eq!((view.id, session.expires().0 - session.issued().0), (project, HOUR));
        // Another node's, which is no member; another key's in the member's name.
        let claims = session.claims().clone();
        let stranger = key(50);
        let theirs = w3bstream_types::SessionClaims { node: Did::key(&stranger.public()), ..claims.clone() };
        for claims in [theirs, claims] {
            let input = claims.signing_input().unwrap();
            let signature = stranger.sign(input.as_bytes());
            let forged = w3bstream_types::SessionToken::assemble(&input, &signature).unwrap();
            assert_eq!(run.refusal(world.in_session(forged.compact(), "e1", 1)).await, RefusalKind::BadToken);
        }
        run.client.send(world.in_session(&token, "e2", 1)).await.unwrap();
        world.clock.0.fetch_add(HOUR, Ordering::SeqCst);
        assert_eq!(run.refusal(world.in_session(&token, "e3", 1)).await, RefusalKind::BadToken);
        // A node that would take it late, by a wrong clock say, finds that all others do not.
        let mut late = world.in_session(&token, "e4", 1);
        late.received_at = session.issued();
        run.client.send(late.clone()).await.unwrap();
        world.clock.0.fetch_add(w3bstream_types::MAX_SESSION_LAG_MS, Ordering::SeqCst);
        if let Submission::Session { event_id, .. } = &mut late.submission {
            "e5".clone_into(event_id);
        }
        assert_eq!(run.refusal(late).await, RefusalKind::BadToken);
        run.stop().await;
    });
}

#[test]
fn a_project_without_sessions_takes_none_and_ends_those_that_run() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let project = world.deploy(&run, AckMode::Durable, &["counts"]).await;
        let token = world.session(&run, project, "1").await;
        let mut manifest = world.manifest(AckMode::Durable, &["counts"]);
        (manifest.version, manifest.allow_sessions) = (2, false);
        world.change(&run, project, Control::Deploy(Box::new(manifest))).await.unwrap();
        assert_eq!(run.refusal(world.in_session(&token, "e1", 1)).await, RefusalKind::NotAllowed);
        let again = world.introduction(project, "2", world.seconds()).sign(&world.device);
        let refusal = run.open(&again).await.unwrap_err();
        assert!(
            refusal.kind == RefusalKind::NotAllowed && refusal.detail.contains("allow-sessions"),
            "{refusal}"
        );
        run.stop().await;
    });
}

#[test]
fn an_introduction_is_refused_as_a_message_would_be() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let project = world.deploy(&run, AckMode::Durable, &["counts"]).await;
        let good = world.introduction(project, "1", world.seconds());
        let text = good.sign(&world.device);
        run.open(&text).await.unwrap();
        let kind = |claims: &IntroductionClaims, key: &SecretKey| {
            let text = claims.sign(key);
            let run = &run;
            async move { run.open(&text).await.map(|_| ()).map_err(|refusal| refusal.kind) }
        };
        let claims = |nonce: &str| IntroductionClaims { nonce: nonce.into(), ..good.clone() };
        assert_eq!(run.open(&text).await.unwrap_err().kind, RefusalKind::Conflict, "a replay");
        assert_eq!(run.open("x").await.unwrap_err().kind, RefusalKind::Malformed);
        assert_eq!(kind(&claims("2"), &key(3)).await, Err(RefusalKind::BadSignature));
        let unknown = IntroductionClaims { device: Did::key(&key(3).public()), ..claims("3") };
        assert_eq!(kind(&unknown, &key(3)).await, Err(RefusalKind::UnknownDevice));
        let elsewhere = IntroductionClaims { audience: ProjectId(Digest::ZERO), ..claims("4") };
        assert_eq!(kind(&elsewhere, &world.device).await, Err(RefusalKind::WrongAudience));
        let node = IntroductionClaims { node: Did::key(&key(3).public()), ..claims("5") };
        assert_eq!(kind(&node, &world.device).await, Err(RefusalKind::NotAllowed));
        let old = IntroductionClaims { issued: good.issued - 120, ..claims("6") };
        assert_eq!(kind(&old, &world.device).await, Err(RefusalKind::BadSignature));
        let refusal = run.pipeline.open(&"q".parse().unwrap(), &text).await.unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::UnknownProject);
        // Without a clock: the node's nonce, once.
        let nonce = run.pipeline.challenge(&"p".parse().unwrap()).unwrap().nonce;
        let without_clock = IntroductionClaims { issued: 0, ..claims(&nonce) };
        assert_eq!(kind(&without_clock, &world.device).await, Ok(()));
        assert_eq!(kind(&without_clock, &world.device).await, Err(RefusalKind::Conflict));
        run.stop().await;
    });
}

#[test]
fn a_connection_is_of_its_device_and_client() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let project = world.deploy(&run, AckMode::Durable, &["counts"]).await;
        let device = Did::key(&world.device.public());
        let connect = |nonce: &str, client: &str| {
            let claims = world.introduction(project, nonce, world.seconds());
            IntroductionClaims { client: Some(client.into()), ..claims }.sign(&world.device)
        };
        let check =
            |text: &str, client: &str| run.pipeline.check_connect(text, &device, client).map(|v| v.id);
        let text = connect("1", "c");
        assert_eq!(check(&text, "other").unwrap_err().kind, RefusalKind::NotAllowed);
        assert_eq!(check(&text, "c"), Ok(project));
        assert_eq!(check(&text, "c").unwrap_err().kind, RefusalKind::Conflict);
        let other = Did::key(&key(3).public());
        let refusal = run.pipeline.check_connect(&connect("2", "c"), &other, "c").unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::NotAllowed);
        // What opens a session connects nobody.
        let session = world.introduction(project, "3", world.seconds()).sign(&world.device);
        assert_eq!(check(&session, "c").unwrap_err().kind, RefusalKind::Malformed);
        run.stop().await;
    });
}
