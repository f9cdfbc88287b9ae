//! What a worker has of its node, and how it ends with it.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use w3bstream_engine::ErrorKind;
use w3bstream_engine::conformance::native::call;
use w3bstream_engine_worker::WorkerConfig;
use w3bstream_types::GuestLimits;

use crate::{Nothing, SEVEN, is_there, kill, load, role, seven, started, until};

#[test]
fn workers_end_with_their_node_however_it_ends() {
    let config = role("node");
    let (program, arguments) = config.command.split_first().unwrap();
    let mut node = Command::new(program).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(node.stdout.take().unwrap()).lines();
    let worker = lines.map(Result::unwrap).find_map(|line| line.strip_prefix("worker ")?.parse::<u32>().ok());
    let worker = worker.expect("the node tells its worker");
    assert!(is_there(worker));
    kill(node.id());
    node.wait().unwrap();
    until("the worker is gone, in the middle of a call", || !is_there(worker));
}

#[test]
fn dropping_the_engine_ends_its_workers() {
    let engine = started(role("wasmer"));
    let pids = engine.workers();
    assert!(pids.iter().all(|pid| is_there(*pid)) && !pids.is_empty());
    drop(engine);
    assert!(!pids.iter().any(|pid| is_there(*pid)));
}

#[test]
fn a_worker_has_nothing_of_its_node() {
    let mut config = role("wasmer");
    // What a node itself may have been left by a shell.
    let shell = "exec 9</etc/passwd; exec \"$0\" \"$@\"";
    config.command.splice(0..0, ["/bin/sh", "-c", shell].map(Into::into));
    let engine = started(config);
    seven(&*load(&engine, SEVEN));
    let [pid] = engine.workers()[..] else { panic!("one worker") };
    let link = |name: &str| std::fs::read_link(format!("/proc/{pid}/{name}")).unwrap();
    let open: Vec<_> =
        std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(|e| e.unwrap().file_name()).collect();
    let names: Vec<String> =
        open.iter().map(|fd| link(&format!("fd/{}", fd.display())).display().to_string()).collect();
    assert!(names.iter().all(|n| n.starts_with("socket:") || n.starts_with("pipe:")), "{names:?}");
    assert_eq!(names.iter().filter(|n| n.starts_with("pipe:")).count(), 2, "{names:?}");
    assert_eq!(link("cwd").to_str(), Some("/"));
    let environment = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    let left: Vec<&str> = environment.split('\0').filter(|v| !v.is_empty()).collect();
    // A shell adds these of its own.
    let own = |v: &&&str| ["PWD=", "OLDPWD=", "SHLVL=", "_="].iter().any(|n| v.starts_with(n));
    assert!(left.iter().filter(|v| !own(v)).count() == 0, "{left:?}");
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let group = status.rsplit_once(") ").unwrap().1.split(' ').nth(2).unwrap().parse();
    assert_eq!(group, Ok(pid), "a group of its own, which a terminal's Ctrl-C does not reach");
    // A service manager tells all processes to end; the node is the one that does so.
    let terminated = Command::new("kill").args(["-TERM", &pid.to_string()]).status().unwrap();
    assert!(terminated.success());
    seven(&*load(&engine, SEVEN));
    assert_eq!(engine.workers(), [pid]);
}

#[test]
fn memory_is_capped() {
    let engine = started(WorkerConfig { memory_bytes: 512 << 20, ..role("wasmer") });
    let grows = r#"(func (export "h") (param i32) (result i32)
        (drop (memory.grow (i32.mul (local.get 0) (i32.const 16)))) (i32.const 7))"#;
    let module = load(&engine, grows);
    let limits = GuestLimits { memory_bytes: 2 << 30, gas: 1 << 40, ..GuestLimits::default() };
    let grown = |mib: i32| call(&*module, mib, &limits, &mut Nothing);
    assert_eq!(grown(100).unwrap().result, Ok(7));
    let error = grown(1_000).expect_err("more than there may be");
    assert_eq!(error.kind(), ErrorKind::Host);
    assert!(error.to_string().contains("give the node more"), "{error}");
    assert_eq!(grown(100).unwrap().result, Ok(7));
    let [pid] = engine.workers()[..] else { panic!("still the same worker") };
    let caps = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let data = caps.lines().find(|l| l.starts_with("Max data size")).unwrap();
    assert!(data.contains("536870912"), "{data}");
}
