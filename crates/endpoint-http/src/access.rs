//! Who may use the endpoint from where: web pages' origins, readers of live changes, secret connections.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use w3bstream_endpoint::{Error, ErrorKind, async_trait};
use w3bstream_types::ProjectName;

/// The origin of web pages (RFC 6454), such as `https://app.example:8443`, as browsers write it: lower case, without a
/// path, and without a port that is the scheme's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin(String);

impl Origin {
    /// As browsers send it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Origin {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |why: &str| {
            let what = format!("{text:?} is no origin: {why}; write it as in \"https://app.example\"");
            Error::new(ErrorKind::Config, what)
        };
        let (own_port, rest) = match text.split_once("://") {
            Some(("http", rest)) => (":80", rest),
            Some(("https", rest)) => (":443", rest),
            _ => return Err(bad("it begins with http:// or https://, and there is none for all pages")),
        };
        if rest.ends_with(own_port) {
            return Err(bad("browsers leave the scheme's own port away"));
        }
        let uri: axum::http::Uri = text.parse().map_err(|_| bad("it cannot be read"))?;
        let host = uri.host().unwrap_or_default();
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._:[]".contains(&b);
        if host.is_empty() || !rest.bytes().all(allowed) || rest.ends_with(':') {
            return Err(bad(
                "behind the scheme stand a host in lower case and perhaps a port, and nothing else",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Whether somebody may hear of a project's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Yes.
    Allowed,
    /// No: 401 without a token, 403 with one.
    Denied,
}

type Judge = dyn Fn(&ProjectName, Option<&str>) -> Reading + Send + Sync;

/// Decides who may listen to live changes: asked with the project, and the bearer token if there is one. It must not
/// block. The default allows everybody.
#[derive(Clone, Default)]
pub struct Readers(Option<Arc<Judge>>);

impl Readers {
    /// Those whom `judge` allows. It compares tokens in constant time, or by their hashes.
    #[must_use]
    pub fn new(judge: impl Fn(&ProjectName, Option<&str>) -> Reading + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(judge)))
    }

    /// Whether they may.
    pub(crate) fn judge(&self, project: &ProjectName, token: Option<&str>) -> Reading {
        self.0.as_ref().map_or(Reading::Allowed, |judge| judge(project, token))
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Readers(judged)" } else { "Readers(everybody)" })
    }
}

/// Bytes both ways: a socket, or what was made of one.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Some [`Io`].
pub type BoxIo = Box<dyn Io>;

/// Makes a connection of a connection, such as by TLS. HTTP/1.1 and HTTP/2 are told apart by the client's first bytes,
/// so an implementation offers `h2` and `http/1.1` by ALPN and says no more about it.
#[async_trait]
pub trait Accept: Send + Sync + fmt::Debug {
    /// The client's hand is shaken. Has to be done, together with the first request's head, within
    /// [`HttpLimits::head_timeout`](crate::HttpLimits::head_timeout); the endpoint drops the future then.
    ///
    /// # Errors
    /// The client is not taken: its connection is closed and counted, and nothing is logged above level debug.
    async fn accept(&self, stream: BoxIo) -> io::Result<BoxIo>;

    /// The scheme of the URLs, `https` if not said otherwise.
    fn scheme(&self) -> &'static str {
        "https"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_what_browsers_send() {
        for good in ["https://app.example", "http://localhost:3000", "http://[::1]:8080", "https://10.0.0.7"]
        {
            assert_eq!(good.parse::<Origin>().unwrap().to_string(), good);
        }
        for bad in [
            "*",
            "null",
            "",
            "https://",
            "https://*",
            "https://*.example",
            "app.example",
            "https://app.example/",
            "https://App.example",
            "https://app.example:443",
            "http://app.example:80",
            "https://a b",
            "https://u@app.example",
            "https://app.example?x",
            "https://app.example:",
            "ftp://app.example",
        ] {
            let error = bad.parse::<Origin>().expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::Config);
        }
    }
}
