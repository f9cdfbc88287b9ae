//! Applets whose state is split by device.

use w3bstream_types::SourceId;

use super::*;

/// Deploys the program, split by device, and registers two devices.
async fn deploy(world: &World, run: &Run, program: &str) -> Result<ProjectId, String> {
    let mut manifest = world.manifest(AckMode::Executed, &[program]);
    manifest.applets[0].partition = Partition::Device;
    let project = manifest.project();
    run.pipeline.put_program(program.as_bytes().to_vec()).await.unwrap();
    world.change(run, project, Control::Deploy(Box::new(manifest))).await?;
    for device in [&world.device, &key(3)] {
        world.change(run, project, register(device)).await?;
    }
    Ok(project)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_meets_its_own_part_and_so_does_a_canary() {
    let world = World::new();
    let other = World { device: key(3), ..World::new() };
    let run = world.start().await;
    let project = deploy(&world, &run, "counts").await.unwrap();
    let applet: w3bstream_types::AppletName = "counts".parse().unwrap();
    run.send(world.message(project, 0)).await.unwrap();
    run.pipeline.start_canary(project, (None, b"jumps".to_vec())).await.unwrap();
    // Other than the applet, the canary's module jumps when the count of a part is 2.
    for (n, world, code) in [(1, &world, 1), (0, &other, 0), (1, &other, 1), (2, &world, 2), (2, &other, 2)] {
        let answer = run.send(world.message(project, n)).await.unwrap();
        assert_eq!(answer.results[0].code, code, "message {n}");
    }
    let of = |world: &World| SourceId::Device(Did::key(&world.device.public()));
    for world in [&world, &other] {
        let value = run.pipeline.applet_value(project, (&applet, Some(&of(world))), b"count").await.unwrap();
        assert_eq!(value, Some(vec![3]));
    }
    let told = run.pipeline.applet_value(project, (&applet, None), b"count").await.unwrap_err().to_string();
    assert!(told.contains("?of=did:key"), "{told}");
    for _ in 0..1000 {
        if run.pipeline.canaries(project)[0].calls == 5 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let canary = run.pipeline.canaries(project).pop().unwrap();
    assert_eq!((canary.calls, canary.differences), (5, BTreeMap::from([("write", 2)])), "{:?}", canary.first);
    let shown: Vec<_> = canary.first.iter().map(|d| (d.old.as_str(), d.new.as_str())).collect();
    assert_eq!(shown, [("0x03", "0x0c"), ("0x03", "0x0c")]);
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_is_refused_to_programs_with_sql_and_does_not_change() {
    let world = World::new();
    let run = world.start().await;
    let told = deploy(&world, &run, "asks").await.unwrap_err();
    assert!(
        told.contains("applet asks") && told.contains("take the line `partition = \"device\"`"),
        "{told}"
    );
    let project = deploy(&world, &run, "counts").await.unwrap();
    let mut next = world.manifest(AckMode::Executed, &["counts"]);
    next.version = 2;
    let told = world.change(&run, project, Control::Deploy(Box::new(next))).await.unwrap_err();
    assert!(told.contains("counts has partition = \"device\" and cannot get \"none\""), "{told}");
    run.stop().await;
}
