//! From [`Received`] to [`Verified`]: the checks that a message passes before anything is kept of it.

use std::sync::Arc;

use w3bstream_types::{
    DeviceRegistration, Did, EventType, KeyId, MAX_PAYLOAD_BYTES, ProjectId, ProjectName, Received, Record,
    Refusal, RefusalKind, SessionToken, Submission, Timestamp, Verified, WindowVerdict, check_event_id,
    token_hash,
};

use crate::{DeviceStatus, ProjectView, Registry, TokenStatus};

/// Limits of this node, whatever a project allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmitLimits {
    /// The largest payload, in bytes. A project's manifest can only lower it.
    pub max_payload_bytes: u64,
}

impl Default for AdmitLimits {
    /// The largest payload that the formats carry.
    fn default() -> Self {
        Self { max_payload_bytes: MAX_PAYLOAD_BYTES as u64 }
    }
}

/// Judges a message against the project's replicated registry and nothing else.
///
/// Cheap checks come first; the signature is checked after everything that a look-up can refuse. Only the
/// sequence window comes after the signature: its refusal tells a device to start a new boot epoch, and
/// nobody but the device may cause that.
///
/// A sequence that was [`WindowVerdict::Seen`] is *not* refused here: storage knows whether it is the same
/// message once more (accepted, not stored again) or another one (a conflict).
///
/// # Errors
/// A permanent [`Refusal`] whose detail says what the sender has to change. It holds nothing that the
/// sender did not send or may not know: no token, no internals of the node.
pub fn admit(received: Received, registry: &dyn Registry, limits: &AdmitLimits) -> Result<Verified, Refusal> {
    let Received { project, submission, received_at } = received;
    let view = registry.project(&project).ok_or_else(|| not_served(&project, registry))?;
    check_size(&view, &submission, limits)?;
    match submission {
        Submission::Signed(record) => admit_signed(record, received_at, &view, registry),
        session @ Submission::Session { .. } => admit_session(session, received_at, &view, registry),
        token @ Submission::Token { .. } => admit_token(token, received_at, &view, registry),
    }
}

/// Why a project that the registry does not give is not served.
pub fn not_served(project: &ProjectName, registry: &dyn Registry) -> Refusal {
    match registry.removed(project) {
        Some(height) => refuse(
            RefusalKind::Removed,
            format!("{project} was removed by its owner at height {height}; it takes no messages any more"),
        ),
        None => refuse(
            RefusalKind::UnknownProject,
            format!(
                "this node serves no project {project}; check the name, or send to a node that serves it"
            ),
        ),
    }
}

pub(crate) fn refuse(kind: RefusalKind, detail: impl Into<String>) -> Refusal {
    Refusal::new(kind, detail)
}

fn check_size(view: &ProjectView, submission: &Submission, limits: &AdmitLimits) -> Result<(), Refusal> {
    let payload = submission.payload();
    let (limit, whose) = if view.manifest.max_payload_bytes < limits.max_payload_bytes {
        (view.manifest.max_payload_bytes, "project")
    } else {
        (limits.max_payload_bytes, "node")
    };
    if payload.len() as u64 > limit {
        let detail = format!(
            "the payload has {} bytes, the {whose}'s limit is {limit}; send it in smaller messages",
            payload.len()
        );
        return Err(refuse(RefusalKind::TooLarge, detail));
    }
    Ok(())
}

fn admit_signed(
    record: Record,
    received_at: Timestamp,
    view: &ProjectView,
    registry: &dyn Registry,
) -> Result<Verified, Refusal> {
    let Some(header) = record.header() else {
        // A record of the token form is what storage keeps; it is nothing that a sender may hand in.
        return Err(refuse(
            RefusalKind::Malformed,
            "a message handed in as signed has no signature; send its token instead",
        ));
    };
    check_audience(header.audience, view)?;
    let did = header.key.did();
    let registered = registered(&did, view, registry)?;
    check_event_type(&did, &header.event_type, &registered.event_types)?;
    check_key_id(&did, &header.key)?;
    let sequence = header.sequence;
    let verified = Verified::by_signature(record, &registered.key, received_at).map_err(|invalid| {
        let detail = format!(
            "{}; sign the message's signing input with the key that is registered for {did}",
            invalid.why
        );
        refuse(RefusalKind::BadSignature, detail)
    })?;
    let window = registry.window(view.id, &did);
    if window.check(sequence) == WindowVerdict::TooOld {
        let next = window.next_epoch();
        let highest = window.highest().unwrap_or_default();
        let mut refusal = refuse(
            RefusalKind::TooOld,
            format!(
                "sequence {sequence} (epoch {}, counter {}) is below the window, whose highest is {highest}; \
                 go on above that, or start epoch {next} if the device lost its counter",
                sequence.epoch(),
                sequence.counter()
            ),
        );
        refusal.next_epoch = Some(next);
        return Err(refusal);
    }
    Ok(verified)
}

/// The device as it is registered, if it may send.
pub(crate) fn registered(
    did: &Did,
    view: &ProjectView,
    registry: &dyn Registry,
) -> Result<Arc<DeviceRegistration>, Refusal> {
    match registry.device(view.id, did) {
        DeviceStatus::Registered(registered) if registered.device == *did => Ok(registered),
        DeviceStatus::Revoked => {
            let detail = format!("{did} was revoked for ever; register the device with a new key");
            Err(refuse(RefusalKind::Revoked, detail))
        }
        DeviceStatus::Unknown | DeviceStatus::Registered(_) => {
            let detail = format!(
                "{did} is not registered in {name}; its owner runs: w3bstream device add --project {name} {did}",
                name = view.manifest.name
            );
            Err(refuse(RefusalKind::UnknownDevice, detail))
        }
    }
}

pub(crate) fn check_audience(audience: ProjectId, view: &ProjectView) -> Result<(), Refusal> {
    if audience == view.id {
        return Ok(());
    }
    let detail = format!(
        "the message is signed for project {audience}, but {} is {}; sign it with that id as audience",
        view.manifest.name, view.id
    );
    Err(refuse(RefusalKind::WrongAudience, detail))
}

fn check_event_type(
    who: &dyn std::fmt::Display,
    event_type: &EventType,
    allowed: &[EventType],
) -> Result<(), Refusal> {
    if allowed.is_empty() || allowed.contains(event_type) {
        return Ok(());
    }
    let allowed: Vec<&str> = allowed.iter().map(EventType::as_str).collect();
    let detail = format!("{who} may not send {event_type}, only {}", allowed.join(", "));
    Err(refuse(RefusalKind::NotAllowed, detail))
}

/// A did:key or did:jwk has exactly one key; a message that names another was not made by its rules, and
/// its receipt would name a key that does not exist. Other methods' key names are the document's own.
pub(crate) fn check_key_id(did: &Did, key: &KeyId) -> Result<(), Refusal> {
    if !matches!(did.method(), "key" | "jwk") {
        return Ok(());
    }
    let only = did.default_key_id();
    if *key == only {
        return Ok(());
    }
    Err(refuse(
        RefusalKind::BadSignature,
        format!("the message names the key {key}; the only key of this device is {only}"),
    ))
}

fn admit_token(
    submission: Submission,
    received_at: Timestamp,
    view: &ProjectView,
    registry: &dyn Registry,
) -> Result<Verified, Refusal> {
    let name = &view.manifest.name;
    let Submission::Token { token, event_id, event_type, .. } = &submission else {
        return Err(refuse(RefusalKind::Malformed, "the message carries no token"));
    };
    if !view.manifest.allow_tokens {
        let detail = format!(
            "{name} takes only signed messages; sign with a registered device's key, or let the owner set \
             allow-tokens = true and deploy again"
        );
        return Err(refuse(RefusalKind::NotAllowed, detail));
    }
    check_event_id(event_id)
        .map_err(|e| refuse(RefusalKind::Malformed, format!("the event id {}", e.why)))?;
    let registered = match registry.token(view.id, &token_hash(token)) {
        TokenStatus::Registered(registered) => registered,
        TokenStatus::Unknown => {
            let detail =
                format!("the token is not registered in {name}, or was revoked; ask its owner for one");
            return Err(refuse(RefusalKind::BadToken, detail));
        }
    };
    check_event_type(
        &format_args!("publisher {}", registered.publisher),
        event_type,
        &registered.event_types,
    )?;
    let evidence = (view.id, registered.publisher.clone(), registered.token_hash);
    Verified::by_token(submission, evidence, received_at)
        .map_err(|invalid| refuse(RefusalKind::BadToken, format!("the token {}", invalid.why)))
}

/// Whether a project takes sessions.
pub(crate) fn check_sessions(view: &ProjectView) -> Result<(), Refusal> {
    if view.manifest.allow_sessions {
        return Ok(());
    }
    let detail = format!(
        "{} takes no sessions; sign each message with the device's key, or let the owner set allow-sessions = true \
         and deploy again",
        view.manifest.name
    );
    Err(refuse(RefusalKind::NotAllowed, detail))
}

/// Reads a session's JWT as far as it is of this project.
pub(crate) fn read_session(token: &str, view: &ProjectView) -> Result<SessionToken, Refusal> {
    let token = SessionToken::parse(token)
        .map_err(|e| refuse(RefusalKind::BadToken, format!("{e}; open a session to get one")))?;
    check_audience(token.claims().audience, view)?;
    Ok(token)
}

fn admit_session(
    submission: Submission,
    received_at: Timestamp,
    view: &ProjectView,
    registry: &dyn Registry,
) -> Result<Verified, Refusal> {
    let Submission::Session { token, event_id, event_type, .. } = &submission else {
        return Err(refuse(RefusalKind::Malformed, "the message carries no session"));
    };
    check_sessions(view)?;
    check_event_id(event_id)
        .map_err(|e| refuse(RefusalKind::Malformed, format!("the event id {}", e.why)))?;
    let token = read_session(token, view)?;
    let registered = registered(&token.claims().device, view, registry)?;
    check_event_type(&registered.device, event_type, &registered.event_types)?;
    let evidence = (view.id, &*view.members, &registered.device);
    Verified::by_session(submission, evidence, received_at).map_err(|invalid| {
        let detail = format!("the session {}; open a new one", invalid.why);
        refuse(RefusalKind::BadToken, detail)
    })
}

#[cfg(test)]
mod tests;
