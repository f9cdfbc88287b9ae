//! Events that handlers send to handlers.

use super::*;

/// What the program `emits` does: it notes what it was called with, and sends events by what that is.
pub(crate) fn emit(
    call: &Call<'_>,
    state: &mut dyn HostState,
    outcome: &mut Outcome,
) -> Result<(), w3bstream_engine::Error> {
    let caused = call.source.caused;
    let mut noted = state.kv_get(b"noted")?.unwrap_or_default();
    let payload = String::from_utf8_lossy(call.payload);
    let line = format!("{}:{payload} {}/{}/{};", call.event_type, caused.depth, caused.events, caused.bytes);
    noted.extend(line.into_bytes());
    outcome.writes.insert(b"noted".to_vec(), noted);
    let send = |event_type: &str, payload: &str| Output {
        kind: OutputKind::Event,
        chain_id: 0,
        target: event_type.into(),
        data: payload.into(),
    };
    outcome.outputs = match (call.event_type.as_str(), &*payload) {
        ("reading", _) => vec![send("left", "1"), send("nobodys", "2"), send("right", "3")],
        ("left", "1") => vec![send("right", "4")],
        _ => vec![],
    };
    outcome.outputs.push(Output {
        kind: OutputKind::Answer,
        chain_id: 0,
        target: b"run".to_vec(),
        data: format!("to {payload}").into_bytes(),
    });
    // It has a salt only if it is the device's own, and the device in any case.
    assert_eq!(call.source.salt.is_some(), caused.depth == 0);
    assert!(call.source.device.is_some());
    Ok(())
}

/// Two applets: one takes the message and all events, the other fails on events of the type `right`.
async fn deploy(world: &World, run: &Run) -> ProjectId {
    let route = |event_type: &str| Route { event_type: event_type.parse().unwrap(), handler: "run".into() };
    let mut manifest = world.manifest(AckMode::Executed, &["emits", "fails"]);
    manifest.applets[0].routes = vec![route("reading"), route("left"), route("right")];
    manifest.applets[1].routes = vec![route("right")];
    for program in ["emits", "fails"] {
        run.pipeline.put_program(program.as_bytes().to_vec()).await.unwrap();
    }
    let project = manifest.project();
    world.change(run, project, Control::Deploy(Box::new(manifest))).await.unwrap();
    world.change(run, project, register(&world.device)).await.unwrap();
    project
}

#[test]
fn events_run_behind_the_message_in_the_order_in_which_they_were_sent() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let project = deploy(&world, &run).await;
        let record = world.message(project, 65);
        let id = record.id();
        let accepted = run.send(record.clone()).await.unwrap();
        let shown: Vec<String> = accepted
            .results
            .iter()
            .map(|r| {
                let event = r.event.as_ref().map_or("-", |e| e.as_str());
                let answer = r.answer.as_ref().map_or(&b""[..], |a| a.as_bytes());
                format!(
                    "{event} {} {} {}",
                    r.applet,
                    r.error.as_deref().unwrap_or(""),
                    String::from_utf8_lossy(answer)
                )
            })
            .collect();
        let expected = [
            "- emits  to A",
            "left emits  to 1",
            "right emits  to 3",
            "right fails trap ",
            "right emits  to 4",
            "right fails trap ",
        ];
        assert_eq!(shown, expected);
        let noted =
            run.pipeline.applet_value(project, (&"emits".parse().unwrap(), None), b"noted").await.unwrap();
        let noted = String::from_utf8(noted.unwrap()).unwrap();
        // Depth, events and bytes as each call finds them: `left`, `nobodys` and `right` with a byte each are 19.
        assert_eq!(noted, "reading:A 0/0/0;left:1 1/3/19;right:3 1/4/25;right:4 2/4/25;");
        run.reaches(id, MessageState::Attested).await;
        let receipt =
            run.pipeline.receipt(id, ReceiptContent { payload: true, settlements: true }).await.unwrap();
        assert!(receipt.verify(None).is_ok());
        let of: Vec<bool> = receipt.results().iter().map(|r| r.event.is_some()).collect();
        assert_eq!(of, [false, true, true, true, true, true]);
        let sent = receipt.execution.outputs.iter().filter(|o| o.output.kind == OutputKind::Event);
        assert_eq!(sent.count(), 4);
        let life = run.pipeline.message(id).await.unwrap().unwrap();
        let executed = life.states.iter().find(|s| s.state == MessageState::Executed).unwrap();
        assert!(executed.reason.contains("event left: emits.run gave"), "{}", executed.reason);
        assert!(run.pipeline.metrics().contains("w3b_events_total{project=\"p\"} 4"));
        // Neither a repeat nor a restart runs anything again.
        assert_eq!(run.send(record.clone()).await.unwrap().results, accepted.results);
        run.stop().await;
        let run = world.start().await;
        assert_eq!(run.send(record).await.unwrap().results, accepted.results);
        let again =
            run.pipeline.applet_value(project, (&"emits".parse().unwrap(), None), b"noted").await.unwrap();
        assert_eq!(again.unwrap(), noted.as_bytes());
        run.stop().await;
    });
}

#[test]
fn the_next_message_of_a_block_sees_what_the_events_did() {
    block_on(async {
        let world = World::new();
        let run = world.start().await;
        let project = deploy(&world, &run).await;
        let (a, b) = tokio::join!(run.send(world.message(project, 65)), run.send(world.message(project, 66)));
        assert!(a.is_ok() && b.is_ok());
        let noted =
            run.pipeline.applet_value(project, (&"emits".parse().unwrap(), None), b"noted").await.unwrap();
        let noted = String::from_utf8(noted.unwrap()).unwrap();
        let of =
            |letter: &str| format!("reading:{letter} 0/0/0;left:1 1/3/19;right:3 1/4/25;right:4 2/4/25;");
        assert_eq!(noted, of("A") + &of("B"));
        run.stop().await;
    });
}
