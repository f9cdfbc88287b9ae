//! Settings.

use std::fmt;
use std::time::Duration;

/// Where a node is, and what is expected of it.
#[derive(Clone, PartialEq, Eq)]
pub struct EvmSettings {
    /// `http://…` or `https://…`.
    pub url: String,
    /// The chain that it must serve (EIP-155).
    pub chain_id: u64,
    /// The value of an `Authorization` header, if the node wants one.
    pub authorization: Option<String>,
    /// Certificates of authorities (DER) to trust for `https` beside those of the operating system.
    pub authorities: Vec<Vec<u8>>,
    /// How long one request may take, from connecting to the last byte.
    pub timeout: Duration,
    /// How many bytes one answer may have.
    pub max_response: usize,
    /// How often a read is repeated that the node did not answer.
    pub retries: u32,
    /// How long to wait before the first repetition; twice as long before each one after it.
    pub backoff: Duration,
    /// How many requests may be under way at once; others wait.
    pub max_requests: usize,
}

impl EvmSettings {
    /// The node at `url`: 15 seconds, 32 MiB, 2 repetitions after a quarter of a second, 16 requests at once.
    #[must_use]
    pub fn new(url: impl Into<String>, chain_id: u64) -> Self {
        Self {
            url: url.into(),
            chain_id,
            authorization: None,
            authorities: vec![],
            timeout: Duration::from_secs(15),
            max_response: 32 * 1024 * 1024,
            retries: 2,
            backoff: Duration::from_millis(250),
            max_requests: 16,
        }
    }
}

/// Scheme, host and port of a URL: path, query and user often hold a key.
pub(crate) fn shown(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}")
}

impl fmt::Debug for EvmSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EvmSettings")
            .field("url", &shown(&self.url))
            .field("chain_id", &self.chain_id)
            .field("timeout", &self.timeout)
            .field("max_response", &self.max_response)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_a_url_are_not_shown() {
        for url in [
            "https://user:secret@rpc.example.org:8545/v1/secret?key=secret#secret",
            "https://rpc.example.org:8545?secret",
        ] {
            assert_eq!(shown(url), "https://rpc.example.org:8545");
            let mut settings = EvmSettings::new(url, 1);
            settings.authorization = Some("Bearer secret".into());
            assert!(!format!("{settings:?}").contains("secret"));
        }
    }
}
