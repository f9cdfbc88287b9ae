//! Granting a CONNECT: whom the gate admits gets a session and a CONNACK.

use std::collections::HashMap;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use rmqtt_codec::{v3, v5};
use tokio::time::{Instant, timeout};
use w3bstream_endpoint::{Access, Credentials, Principal};
use w3bstream_types::{Refusal, RefusalKind};

use crate::connect::Connect;
use crate::hub::TooManySessions;
use crate::packet::{Codec, Granted, NotGranted};
use crate::proto::{Proto, State, TOPIC_ALIASES};
use crate::rights::Rights;
use crate::session::{Claim, ConnId, Last};
use crate::shared::{Phase, Shared};
use crate::stream::Peer;
use crate::wills::{self, KeptWill};

/// How long the connection that has a session may take what its peer had sent before another one takes the session.
const YIELD: Duration = Duration::from_millis(100);

/// A connection that was granted, and the CONNACK for it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) proto: Proto,
    /// Who it is, as far as the network knows.
    pub(crate) peer: Peer,
    pub(crate) granted: Granted,
    pub(crate) session_present: bool,
    pub(crate) silence: Duration,
}

fn no(v5: v5::ConnectAckReason, v4: v3::ConnectAckReason, why: impl Into<String>) -> NotGranted {
    NotGranted { v5, v4, why: why.into() }
}

/// What a refusal of the gate is called in a CONNACK.
fn not_admitted(refusal: &Refusal) -> NotGranted {
    use v3::ConnectAckReason as V4;
    use v5::ConnectAckReason as V5;
    let (v5, v4) = match refusal.kind {
        RefusalKind::ShuttingDown | RefusalKind::NotReady | RefusalKind::StorageFailing => {
            (V5::ServerUnavailable, V4::ServiceUnavailable)
        }
        RefusalKind::Overloaded => (V5::ConnectionRateExceeded, V4::ServiceUnavailable),
        RefusalKind::NotAllowed | RefusalKind::Revoked => (V5::NotAuthorized, V4::NotAuthorized),
        _ => (V5::BadUserNameOrPassword, V4::BadUserNameOrPassword),
    };
    no(v5, v4, format!("{}: {}", refusal.kind.code(), refusal.detail))
}

async fn admit(shared: &Shared, connect: &mut Connect, peer: &Peer) -> Result<Access, NotGranted> {
    let credentials = Credentials {
        client_id: connect.client_id.clone(),
        username: connect.username.take(),
        password: connect.password.take(),
        certificate_dids: peer.certificate_dids.clone(),
        from_loopback: peer.address.ip().is_loopback(),
        address: Some(peer.address.ip()),
    };
    let judged = timeout(shared.config.connect_timeout, shared.gate.admit(credentials)).await;
    let late = || Refusal::new(RefusalKind::NotReady, "the node could not check who you are in time");
    let access = judged.unwrap_or_else(|_| Err(late())).map_err(|refusal| not_admitted(&refusal))?;
    let will_topic = match connect.will.as_ref().map(|w| &w.last) {
        None => return Ok(access),
        Some(Last::Clients(message)) => message.topic.clone(),
        Some(Last::Node(received)) => match &received.submission {
            w3bstream_types::Submission::Signed(record) => {
                format!("w3b/{}/{}", received.project, record.event_type())
            }
            // A will of the node's is a signed message.
            w3bstream_types::Submission::Token { .. } | w3bstream_types::Submission::Session { .. } => {
                return Ok(access);
            }
        },
    };
    if access.may_publish(&will_topic) {
        return Ok(access);
    }
    let why = format!("not-allowed: {} may not publish its will to {will_topic}", access.principal);
    Err(no(v5::ConnectAckReason::NotAuthorized, v3::ConnectAckReason::NotAuthorized, why))
}

/// Grants a CONNECT.
pub(crate) async fn open(
    shared: &Arc<Shared>,
    (conn, peer): (ConnId, Peer),
    (mut codec, mut connect): (Codec, Connect),
) -> Result<Box<Opened>, (Codec, NotGranted)> {
    let config = &shared.config;
    let access = match admit(shared, &mut connect, &peer).await {
        Ok(access) => access,
        Err(refused) => return Err((codec, refused)),
    };
    let arrivals = shared.arrivals().filter(|_| shared.phase() == Phase::Running);
    let Some(arrivals) = arrivals else {
        let (v5, v4) = (v5::ConnectAckReason::ServerUnavailable, v3::ConnectAckReason::ServiceUnavailable);
        return Err((codec, no(v5, v4, "the node is stopping")));
    };
    codec.reasons = connect.reasons;
    codec.max_out = connect.max_packet_bytes.min(config.max_packet_bytes);
    let assigned = connect.client_id.is_empty().then(|| format!("w3b-{:x}-{conn:x}", shared.instance));
    let asked = expiry_asked(&connect, config.max_session_expiry);
    let expiry = asked.min(config.max_session_expiry);
    let client_id = owned(&access.principal, assigned.as_ref().unwrap_or(&connect.client_id));
    ask_for(shared, &client_id).await;
    let mailbox = shared.enter(conn);
    let rights = Arc::new(Rights { access, shown: peer.shown.clone() });
    let claim = Claim {
        client_id,
        clean: connect.clean,
        expiry,
        conn,
        wake: Arc::clone(&mailbox.wake),
        rights: Arc::clone(&rights),
        will: connect.will.as_ref().and_then(KeptWill::of).map(Arc::new),
    };
    let (session, session_present, due) = match shared.hub.attach(claim) {
        Ok(attached) => attached,
        Err(TooManySessions) => {
            let (v5, v4) = (v5::ConnectAckReason::QuotaExceeded, v3::ConnectAckReason::ServiceUnavailable);
            return Err((codec, no(v5, v4, "the node has too many sessions")));
        }
    };
    wills::submit(shared, due).await;
    if session_present {
        shared.hub.confine(&session, &rights);
    }
    let (keep_alive, told_secs) = keep_alive(connect.keep_alive_secs, config.max_keep_alive);
    let granted = Granted {
        session_present,
        assigned_client_id: assigned,
        receive_max: NonZeroU16::new(config.max_in_flight_per_connection).unwrap_or(NonZeroU16::MIN),
        max_packet_bytes: u32::try_from(config.max_packet_bytes).unwrap_or(u32::MAX),
        keep_alive_secs: told_secs,
        session_expiry_secs: (expiry != asked).then(|| u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX)),
        topic_alias_max: TOPIC_ALIASES,
    };
    let proto = Proto {
        shared: Arc::clone(shared),
        mailbox,
        arrivals,
        codec,
        conn,
        window: connect.receive_max,
        out_aliases: (connect.topic_aliases.min(TOPIC_ALIASES), HashMap::new()),
        ends_at: ends_at(shared, &rights.access),
        will: connect.will.map(|mut will| {
            will.sent_by(session.id);
            will
        }),
        rights,
        session,
        state: State::default(),
    };
    Ok(Box::new(Opened { proto, peer, granted, session_present, silence: keep_alive * 3 / 2 }))
}

/// When the gate's leave ends, if it does.
fn ends_at(shared: &Shared, access: &Access) -> Option<Instant> {
    access.until.map(|at| Instant::now() + Duration::from_millis(at.saturating_sub(shared.now())))
}

/// Gives the connection that has a session the time to take what its peer has sent.
async fn ask_for(shared: &Shared, client_id: &str) {
    if let Some(taken) = shared.hub.ask(client_id) {
        let _ = timeout(YIELD, taken.notified()).await;
    }
}

/// The keep alive that is granted, and as the client is told it if it is not what it has asked for.
fn keep_alive(asked_secs: u16, most: Duration) -> (Duration, Option<u16>) {
    let granted = match asked_secs {
        0 => most,
        secs => Duration::from_secs(secs.into()).min(most),
    };
    let told = u16::try_from(granted.as_secs()).unwrap_or(u16::MAX);
    (granted, Some(told).filter(|told| *told != asked_secs))
}

/// The name of a client id's session: nobody has another's session by giving its client id.
fn owned(principal: &Principal, client_id: &str) -> String {
    let owner = match principal {
        Principal::Anyone => String::new(),
        known => known.to_string(),
    };
    format!("{}:{owner}:{client_id}", owner.len())
}

/// How long the session is to be kept. In 3.1.1 a session that is not clean has no end.
const fn expiry_asked(connect: &Connect, most: Duration) -> Duration {
    match (connect.expiry_secs, connect.clean) {
        (Some(secs), _) => Duration::from_secs(secs as u64),
        (None, true) => Duration::ZERO,
        (None, false) => most,
    }
}
