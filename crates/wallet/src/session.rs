//! Devices that show their key once: what is judged of their introduction, and of the JWT that they get for it.
//!
//! Whether an introduction is fresh is not judged here: that needs a clock and a memory of nonces.

use w3bstream_types::{Did, Introduction, Refusal, RefusalKind, SessionToken, Timestamp};

use crate::admit::{check_audience, check_key_id, check_sessions, read_session, refuse, registered};
use crate::{ProjectView, Registry};

/// Judges by the replicated registry whether a device of the project has signed the introduction for `node`.
///
/// # Errors
/// A permanent [`Refusal`]: those of a message of that device, and [`RefusalKind::NotAllowed`] if it was signed for
/// another node, or for a session and the project takes none.
pub fn check_introduction(
    introduction: &Introduction,
    view: &ProjectView,
    node: &Did,
    registry: &dyn Registry,
) -> Result<(), Refusal> {
    let claims = introduction.claims();
    if claims.client.is_none() {
        check_sessions(view)?;
    }
    check_audience(claims.audience, view)?;
    if claims.node != *node {
        let detail = format!("it is signed for the node {}, this one is {node}; sign it anew", claims.node);
        return Err(refuse(RefusalKind::NotAllowed, detail));
    }
    let device = registered(&claims.device, view, registry)?;
    check_key_id(&claims.device, introduction.key())?;
    introduction.verify(&device.key).map_err(|invalid| {
        let detail =
            format!("{}; sign it with the key that is registered for {}", invalid.why, device.device);
        refuse(RefusalKind::BadSignature, detail)
    })
}

/// Judges a session's JWT as it is judged with each message: whose session it is, if it is in force at `now`.
///
/// # Errors
/// A permanent [`Refusal`], as for a message.
pub fn check_session(
    token: &str,
    view: &ProjectView,
    registry: &dyn Registry,
    now: Timestamp,
) -> Result<SessionToken, Refusal> {
    check_sessions(view)?;
    let token = read_session(token, view)?;
    registered(&token.claims().device, view, registry)?;
    let bad = |why: String| refuse(RefusalKind::BadToken, format!("the session {why}; open a new one"));
    token.verify(&view.members).map_err(|invalid| bad(invalid.why.into_owned()))?;
    if !token.in_force(now) {
        return Err(bad(format!("ended at {} ms", token.expires().0)));
    }
    Ok(token)
}
