//! Who asks.

use axum::http::{HeaderMap, header};

use crate::endpoint::Shared;
use crate::error::ApiError;
use crate::secrets::Credential;
use crate::store::Account;

/// The token of a request: `Authorization: Bearer X`, `Authorization: X`, or `?authorization=X`.
pub(crate) fn token_of(headers: &HeaderMap, query: &str) -> String {
    let header = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let given = if header.trim().is_empty() { query } else { header }.trim();
    let bare = match given.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => given,
    };
    bare.to_owned()
}

impl Shared {
    /// The account of a session or key; `None` for anything else.
    pub(crate) async fn account_of(&self, token: &str) -> Result<Option<Account>, ApiError> {
        let now = self.clock.now();
        let id = match self.secrets.read(token, now) {
            Credential::Session(id) => id,
            Credential::Key(id) => match self.store.key(id).await? {
                Some(key) if key.expires == 0 || now.millis() < key.expires => key.account,
                _ => return Ok(None),
            },
            Credential::Token(_) | Credential::None => return Ok(None),
        };
        Ok(self.store.account_by_id(id).await?)
    }

    /// The account that asks.
    pub(crate) async fn authorise(&self, headers: &HeaderMap, query: &str) -> Result<Account, ApiError> {
        let token = token_of(headers, query);
        let account = self.account_of(&token).await?;
        account.ok_or_else(|| {
            ApiError::unauthorized(
                "log in with PUT /srv-applet-mgr/v0/login, and send its token as Authorization: Bearer",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first trap: a token is taken from three places.
    #[test]
    fn trap_01_a_token_stands_in_one_of_three_places() {
        let headers = |text: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(text) = text {
                headers.insert(header::AUTHORIZATION, text.parse().unwrap());
            }
            headers
        };
        for (header, query) in [
            (Some("Bearer tok"), ""),
            (Some("bearer  tok"), "x"),
            (Some("tok"), ""),
            (None, "tok"),
            (Some(""), "Bearer tok"),
        ] {
            assert_eq!(token_of(&headers(header), query), "tok", "{header:?} {query:?}");
        }
        assert_eq!(token_of(&headers(None), ""), "");
    }
}
