//! Named points at every hand-over, for tests that kill the process there.

use std::fmt::Debug;

/// Is told when the flow passes a hand-over. The stock node's does nothing.
pub trait Probe: Send + Sync + Debug {
    /// The flow is at `point`, one of [`POINTS`].
    fn at(&self, point: &'static str);
}

/// Every point, in flow order. A crash test must have fired each of them.
pub const POINTS: [&str; 13] = [
    "admit.received",
    "admit.verified",
    "admit.stored",
    "admit.acked",
    "order.built",
    "order.committed",
    "order.journaled",
    "execute.started",
    "execute.ran",
    "execute.applied",
    "attest.signed",
    "attest.journaled",
    "outbox.performed",
];

/// Does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProbe;

impl Probe for NoProbe {
    fn at(&self, _: &'static str) {}
}
