//! Makes the seeds anew, from the real encoders:
//!
//! ```sh
//! cargo test -p w3bstream-fuzzing --test it -- --ignored renew
//! ```
//!
//! They are kept in the repository, so that the test of a commit reads what an earlier one has written.

mod devices;
mod node;
mod packets;
mod values;

use std::collections::BTreeMap;
use std::path::Path;

use w3bstream_fuzzing::target;

use crate::corpus::SEEDS;

/// Seeds by target.
#[derive(Default)]
pub(crate) struct Seeds(BTreeMap<&'static str, Vec<Vec<u8>>>);

impl Seeds {
    /// Adds a seed.
    fn put(&mut self, target: &'static str, bytes: impl Into<Vec<u8>>) {
        self.0.entry(target).or_default().push(bytes.into());
    }

    /// Adds seeds that are texts.
    fn texts(&mut self, target: &'static str, texts: &[&str]) {
        texts.iter().for_each(|text| self.put(target, *text));
    }

    /// Adds a seed behind the byte that says how it is read.
    fn with(&mut self, target: &'static str, how: u8, bytes: &[u8]) {
        self.put(target, [&[how], bytes].concat());
    }
}

fn all() -> Seeds {
    let mut seeds = Seeds::default();
    values::seeds(&mut seeds);
    devices::seeds(&mut seeds);
    packets::seeds(&mut seeds);
    node::seeds(&mut seeds);
    seeds
}

#[test]
#[ignore = "writes files"]
fn renew() {
    let _ = std::fs::remove_dir_all(SEEDS);
    for (name, seeds) in all().0 {
        let folder = Path::new(SEEDS).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for (n, bytes) in seeds.into_iter().enumerate() {
            target(name).check(&bytes);
            std::fs::write(folder.join(format!("{n:02}")), bytes).unwrap();
        }
    }
}
