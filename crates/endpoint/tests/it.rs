//! The reference passes the kit, and the kit fails what is broken.

use w3bstream_endpoint::conformance::broken::{BrokenFixture, Flaw};
use w3bstream_endpoint::conformance::{MemoryFixture, messages, run_all, run_one};
use w3bstream_endpoint::{Endpoint, MemoryEndpoint};
use w3bstream_types::RefusalKind;

mod memory {
    w3bstream_endpoint::endpoint_conformance!(
        pollster::block_on,
        w3bstream_endpoint::conformance::MemoryFixture
    );
}

#[test]
fn the_whole_kit_passes_on_the_reference() {
    assert_eq!(pollster::block_on(run_all(&MemoryFixture)), []);
}

#[test]
fn the_kit_fails_each_broken_endpoint() {
    let run = |flaw: Flaw| pollster::block_on(run_one(&BrokenFixture(flaw), flaw.broken_property()));
    let threads: Vec<_> =
        Flaw::ALL.into_iter().map(|flaw| (flaw, std::thread::spawn(move || run(flaw)))).collect();
    for (flaw, thread) in threads {
        let failure = thread.join().unwrap().expect_err(&format!("the kit did not notice {flaw:?}"));
        assert!(!failure.what.contains("no such property"), "{flaw:?}: {failure}");
    }
}

#[test]
fn a_dropped_endpoint_leaves_no_client_waiting() {
    let endpoint = MemoryEndpoint::new(4);
    let client = endpoint.client();
    let mut messages = messages(0, 2).into_iter();
    let (open, late) = (client.send(messages.next().unwrap()), client.send(messages.next().unwrap()));
    let answered = std::thread::spawn(move || pollster::block_on(open));
    let arrival = pollster::block_on(endpoint.next()).unwrap();
    drop(endpoint);
    assert_eq!(answered.join().unwrap().unwrap_err().kind, RefusalKind::ShuttingDown);
    assert_eq!(pollster::block_on(late).unwrap_err().kind, RefusalKind::ShuttingDown);
    drop(arrival);
}
