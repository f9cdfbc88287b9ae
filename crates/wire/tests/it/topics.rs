//! Topics of devices.

use w3bstream_wire::{Ingress, NoIngress, device_topic, is_level};

#[test]
fn devices_publish_to_project_and_type_only() {
    let ok = Ingress::parse("w3b/cold-chain/reading").unwrap();
    assert_eq!((ok.project.as_str(), ok.event_type.as_str()), ("cold-chain", "reading"));
    // A type may be called like a reserved word: it has no fourth level.
    assert!(Ingress::parse("w3b/p/ack").is_ok());
    for reserved in ["w3b/p/ack/did:key:z", "w3b/p/refused/d", "w3b/p/cmd/d", "w3b/p/cmd/d/e"] {
        assert_eq!(Ingress::parse(reserved), Err(NoIngress::Reserved), "{reserved}");
    }
    for unknown in
        ["", "w3b", "w3b/p", "w3b/p/t/x", "W3B/p/t", "w3b/P/t", "w3b/p/t_x", "w3b//t", "a/b/c", "$SYS/x"]
    {
        assert_eq!(Ingress::parse(unknown), Err(NoIngress::Unknown), "{unknown}");
    }
}

#[test]
fn a_device_is_told_on_a_topic_of_its_own() {
    assert_eq!(device_topic(&"p".parse().unwrap(), "refused", "did:key:z6"), "w3b/p/refused/did:key:z6");
    assert!(is_level("did:key:z6") && !is_level("") && !is_level("a/b") && !is_level("+") && !is_level("a#"));
    assert!(is_level(&"x".repeat(256)) && !is_level(&"x".repeat(257)));
}
