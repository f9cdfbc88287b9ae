//! The kit passes the reference and fails everything that is broken.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use w3bstream_chain::conformance::faulty::{FAULTS, Fault, FaultyPlace};
use w3bstream_chain::conformance::{PROPERTIES, block_on};

mod submit;
mod watch;

mod memory {
    use super::{Fault, FaultyPlace};

    w3bstream_chain::chain_conformance!(|| FaultyPlace::new(Fault::None));
}

#[test]
fn every_fault_is_noticed_by_the_property_that_is_named() {
    for (fault, property) in FAULTS {
        let failing: Vec<&str> = PROPERTIES
            .iter()
            .filter(|p| block_on(p.check(&FaultyPlace::new(*fault))).is_err())
            .map(|p| p.name)
            .collect();
        assert!(failing.contains(property), "{fault:?} is noticed by {failing:?}, not by {property}");
    }
}

#[test]
fn every_property_notices_some_fault() {
    for property in PROPERTIES {
        let notices = |fault| block_on(property.check(&FaultyPlace::new(fault))).is_err();
        assert!(FAULTS.iter().any(|(fault, _)| notices(*fault)), "{} notices no fault", property.name);
    }
}
