//! The kit of the room, block for block mined by the test.

use std::sync::Arc;

use w3bstream_chain::conformance::Place;
use w3bstream_chain::{Chain, Error, async_trait, chain_conformance};
use w3bstream_chain_dev::{DevChain, Fate, Mining, Settings, dev_key};
use w3bstream_types::SecretKey;

struct DevPlace(Arc<DevChain>);

fn place() -> DevPlace {
    DevPlace(Arc::new(DevChain::new(Settings { mining: Mining::OnDemand, ..Settings::default() })))
}

#[async_trait]
impl Place for DevPlace {
    async fn chain(&self) -> Result<Arc<dyn Chain>, Error> {
        Ok(Arc::clone(&self.0) as Arc<dyn Chain>)
    }

    fn key(&self) -> SecretKey {
        dev_key(0)
    }

    async fn mine(&self) -> Result<(), Error> {
        self.0.mine();
        Ok(())
    }

    async fn reorg(&self, depth: u64) -> Result<bool, Error> {
        self.0.reorg(depth, Fate::Dropped);
        Ok(true)
    }
}

chain_conformance!(place);
