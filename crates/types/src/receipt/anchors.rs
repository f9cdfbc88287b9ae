//! What the reader of a receipt knew before.

use serde::{Deserialize, Serialize};

use super::settled::ChainBlock;
use crate::{Did, Digest};

/// What a verifier trusts, from another source than the receipt. In a file (TOML or JSON) the names are
/// `devices`, `any-registered-device`, `genesis`, `programs` and `blocks`; an unknown name is an error.
///
/// A list that is not empty must contain what the receipt names, or the link is broken. A receipt is
/// *anchored* only if its genesis and its device are, so that knowing the (public) digest of a program alone
/// anchors nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Anchors {
    /// Devices that are known to be genuine.
    pub devices: Vec<Did>,
    /// Takes any device that the anchored subnet had registered. What is then believed is the quorum's word
    /// that the device belongs to the project; that the device signed is still checked.
    pub any_registered_device: bool,
    /// Digests of genuine subnets' geneses, one for each epoch.
    pub genesis: Vec<Digest>,
    /// Digests of programs, as they were uploaded, whose results count. Empty: what the anchored subnet ran.
    pub programs: Vec<Digest>,
    /// Blocks of other chains that are known to be final. Where settlements are shown and this is empty, the
    /// settlement is not anchored.
    pub blocks: Vec<ChainBlock>,
}
