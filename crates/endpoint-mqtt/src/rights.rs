//! What a client may do, and whether it still may: what it showed at CONNECT can be revoked while it is connected.

use std::sync::Arc;

use w3bstream_endpoint::{Access, Gate, Principal};

use crate::originals;
use crate::shared::Shared;
use crate::stream::Shown;

/// What a connection may do, and what that rests on.
#[derive(Debug)]
pub(crate) struct Rights {
    pub(crate) access: Access,
    /// What was shown below MQTT.
    pub(crate) shown: Option<Arc<dyn Shown>>,
}

impl Rights {
    /// Whether there is anything that could be revoked.
    pub(crate) fn rest_on_something(&self) -> bool {
        self.shown.is_some() || self.are_somebodys()
    }

    /// Whether they would still be given.
    pub(crate) fn hold(&self, gate: &dyn Gate) -> bool {
        self.shown.as_ref().is_none_or(|s| s.holds()) && (!self.are_somebodys() || gate.holds(&self.access))
    }

    fn are_somebodys(&self) -> bool {
        self.access.principal != Principal::Anyone
    }

    /// Whether a session may keep what an earlier connection has subscribed to.
    pub(crate) fn keep(&self, filter: &str) -> bool {
        originals::is_answers(filter) || self.access.may_subscribe(filter)
    }

    /// Whether the client may subscribe to a filter, given without the group that shares it.
    pub(crate) fn may_subscribe(&self, shared: &Shared, filter: &str) -> bool {
        let answers = shared.originals.get().is_some() && originals::is_answers(filter);
        answers || self.access.may_subscribe(filter)
    }
}
