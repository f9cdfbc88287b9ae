//! One POST, bounded in time and size.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::Semaphore;
use w3bstream_chain::{Error, ErrorKind};

use crate::settings::{EvmSettings, shown};

/// A client for one address.
pub(crate) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    shown: String,
    authorization: Option<HeaderValue>,
    settings: EvmSettings,
    permits: Semaphore,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Http({})", self.shown)
    }
}

fn wrong(what: String) -> Error {
    Error::new(ErrorKind::Rejected, what)
}

/// What `https` trusts. An `http` address needs nothing of it, so a system without certificates may have one.
fn tls(settings: &EvmSettings, needed: bool) -> Result<rustls::ClientConfig, Error> {
    let mut roots = rustls::RootCertStore::empty();
    if needed {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for der in &settings.authorities {
            roots
                .add(der.clone().into())
                .map_err(|e| wrong("an authority's certificate cannot be read".into()).with_source(e))?;
        }
        if roots.is_empty() {
            return Err(wrong("no certificates of authorities were found: install ca-certificates".into()));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong("TLS cannot be set up".into()).with_source(e))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

impl Http {
    /// Checks the settings. Nothing is sent yet.
    pub(crate) fn new(settings: EvmSettings) -> Result<Self, Error> {
        let shown = shown(&settings.url);
        let uri: Uri = settings
            .url
            .parse()
            .map_err(|_| wrong(format!("the address of the node, {shown}/…, is no URL")))?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => {
                return Err(wrong(format!(
                    "the address of the node, {shown}, must start with http or https"
                )));
            }
        };
        let authorization = match &settings.authorization {
            None => None,
            Some(value) => {
                let mut value = HeaderValue::from_str(value)
                    .map_err(|_| wrong("the authorization is no header value".into()))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(settings.timeout));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(&settings, secure)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let permits = Semaphore::new(settings.max_requests.clamp(1, Semaphore::MAX_PERMITS));
        Ok(Self { client, uri, shown, authorization, settings, permits })
    }

    pub(crate) const fn settings(&self) -> &EvmSettings {
        &self.settings
    }

    /// Whom errors are about.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Sends a JSON body and gives the answer's.
    pub(crate) async fn post(&self, body: Vec<u8>) -> Result<Bytes, Error> {
        // The semaphore is never closed.
        let _permit =
            self.permits.acquire().await.map_err(|e| self.unavailable("is closed").with_source(e))?;
        match tokio::time::timeout(self.settings.timeout, self.exchange(body)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.unavailable(&format!("does not answer within {:?}", self.settings.timeout))),
        }
    }

    async fn exchange(&self, body: Vec<u8>) -> Result<Bytes, Error> {
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(value) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|e| self.unavailable("cannot be reached").with_source(e))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), self.settings.max_response).collect().await;
        let body = body.map_err(|e| {
            if e.is::<LengthLimitError>() {
                let most = self.settings.max_response;
                return Error::new(
                    ErrorKind::TooLarge,
                    format!("{} answers with over {most} bytes", self.shown),
                );
            }
            self.unavailable("stopped in the middle of its answer").with_source(e)
        })?;
        let body = body.to_bytes();
        match status {
            StatusCode::OK => Ok(body),
            // Some nodes put an error of JSON-RPC under another status.
            _ if looks_like_json_rpc(&body) => Ok(body),
            StatusCode::PAYLOAD_TOO_LARGE => Err(Error::new(
                ErrorKind::TooLarge,
                format!("{} does not take so large a request", self.shown),
            )),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(self
                    .unavailable(&format!("answers {status}: check the key in its address or authorization")))
            }
            _ => Err(self.unavailable(&format!("answers {status}"))),
        }
    }

    fn unavailable(&self, what: &str) -> Error {
        Error::new(ErrorKind::Unavailable, format!("{} {what}", self.shown))
    }
}

fn looks_like_json_rpc(body: &[u8]) -> bool {
    body.first() == Some(&b'{') && body.windows(9).any(|w| w == b"\"jsonrpc\"")
}
