//! Settings of the endpoint.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use w3bstream_endpoint::{Feed, NoSessions, SharedSessions};

use crate::{Accept, HttpLimits, Origin, Readers};

/// Settings of an [`HttpEndpoint`](crate::HttpEndpoint).
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// The address to listen on. Port 0 takes a free one; [`urls`](w3bstream_endpoint::Endpoint::urls) tells
    /// which.
    pub listen: SocketAddr,
    /// What one client, and all of them, may use.
    pub limits: HttpLimits,
    /// More routes for the same listener, such as a status page. The device routes go first, so a route of the
    /// same path here is never reached. A handler here must give the head of its answer within
    /// [`HttpLimits::body_timeout`]; the body of the answer may be a stream that does not end.
    pub extra: Option<Router>,
    /// Opens sessions for devices that cannot sign each message.
    pub sessions: SharedSessions,
    /// What `GET /v1/projects/{project}/events` listens to. By default a feed to which nobody tells anything.
    pub feed: Feed,
    /// Who may listen. By default everybody, as everybody may ask for a message.
    pub readers: Readers,
    /// Web pages of these origins may use the device routes (CORS). By default none. Never the routes of
    /// [`extra`](Self::extra).
    pub cors: Vec<Origin>,
    /// Makes connections secret, such as by TLS. Without it they are plain.
    pub accept: Option<Arc<dyn Accept>>,
}

impl HttpConfig {
    /// Default limits, no further routes, no web pages, plain connections.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            limits: HttpLimits::default(),
            extra: None,
            sessions: Arc::new(NoSessions),
            feed: Feed::default(),
            readers: Readers::default(),
            cors: Vec::new(),
            accept: None,
        }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 8889)))
    }
}
