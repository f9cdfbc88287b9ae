//! The kit passes the reference and fails everything that is broken.

use std::sync::Arc;

use w3bstream_storage::conformance::faulty::{FAULTS, Fault, FaultyPlace};
use w3bstream_storage::conformance::{PROPERTIES, Place, block_on, follows_the_model_from};
use w3bstream_storage::{Error, MemoryStorage, Storage, async_trait};

#[derive(Default)]
struct Memory(MemoryStorage);

#[async_trait]
impl Place for Memory {
    async fn open(&self) -> Result<Arc<dyn Storage>, Error> {
        Ok(Arc::new(self.0.reopen()))
    }
}

mod memory {
    w3bstream_storage::storage_conformance!(super::Memory::default);
}

/// The kit's own restart machinery finds nothing wrong where nothing is wrong.
mod persistent_memory {
    use super::{Fault, FaultyPlace};

    w3bstream_storage::storage_conformance!(|| FaultyPlace::new(Fault::None));
}

#[test]
fn memory_follows_the_model_from_many_seeds() {
    for seed in 2..60 {
        block_on(follows_the_model_from(&Memory::default(), seed)).unwrap();
    }
    for seed in 2..60 {
        block_on(follows_the_model_from(&FaultyPlace::new(Fault::None), seed)).unwrap();
    }
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
        let noticed =
            FAULTS.iter().any(|(fault, _)| block_on(property.check(&FaultyPlace::new(*fault))).is_err());
        assert!(noticed, "{} notices no fault", property.name);
    }
}
