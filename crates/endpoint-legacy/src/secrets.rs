//! Tokens, sessions and passwords. Only passwords' hashes are kept; everything else is derived from the node's secret.

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use subtle::ConstantTimeEq as _;
use w3bstream_types::{Digest, ProjectName, PublisherName, Timestamp};

/// The node's secret.
pub(crate) struct Secrets([u8; 32]);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(not shown)")
    }
}

/// Whose credential something is, by its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    /// An account's session.
    Session(u64),
    /// An account's key, by its number; it may have been deleted.
    Key(u64),
    /// Anything else: perhaps a publisher's token.
    Token(String),
    /// Nothing, or what was an account's and is no more.
    None,
}

impl Secrets {
    pub(crate) const fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// A keyed digest. What is inside is hashed first, so the key stands before a text of fixed length.
    fn mac(&self, what: &str, parts: &[&[u8]]) -> Digest {
        let inner = Digest::tagged(what, parts);
        Digest::tagged("w3b/legacy-secret/1", &[&self.0, inner.as_bytes()])
    }

    /// A publisher's token; another `generation` is another token.
    pub(crate) fn token(&self, project: &ProjectName, publisher: &PublisherName, generation: u64) -> String {
        let parts = [project.as_str().as_bytes(), publisher.as_str().as_bytes(), &generation.to_be_bytes()];
        format!("w3b_{}", self.mac("token", &parts))
    }

    pub(crate) fn session(&self, account: u64, until: Timestamp) -> String {
        let mac = self.mac("session", &[&account.to_be_bytes(), &until.millis().to_be_bytes()]);
        format!("w3s_{account}_{}_{mac}", until.millis())
    }

    pub(crate) fn key(&self, id: u64) -> String {
        format!("w3b_k{id}_{}", self.mac("key", &[&id.to_be_bytes()]))
    }

    /// What a client has shown. Compared in constant time.
    pub(crate) fn read(&self, shown: &str, now: Timestamp) -> Credential {
        let same = |made: String| bool::from(made.as_bytes().ct_eq(shown.as_bytes()));
        if let Some(rest) = shown.strip_prefix("w3s_") {
            let mut parts = rest.split('_').map(|p| p.parse::<u64>().ok());
            let (Some(Some(account)), Some(Some(until))) = (parts.next(), parts.next()) else {
                return Credential::None;
            };
            let valid = now.millis() < until && same(self.session(account, Timestamp(until)));
            return if valid { Credential::Session(account) } else { Credential::None };
        }
        if let Some(rest) = shown.strip_prefix("w3b_k") {
            let id = rest.split('_').next().and_then(|p| p.parse().ok());
            return match id {
                Some(id) if same(self.key(id)) => Credential::Key(id),
                _ => Credential::None,
            };
        }
        if shown.is_empty() { Credential::None } else { Credential::Token(shown.to_owned()) }
    }
}

/// A password as it is kept (Argon2id, PHC string). Takes some milliseconds and 19 MiB.
pub(crate) fn hash_password(password: &str, random: &[u8; 32]) -> Option<String> {
    let salt = SaltString::encode_b64(random.get(..16)?).ok()?;
    Some(Argon2::default().hash_password(password.as_bytes(), &salt).ok()?.to_string())
}

pub(crate) fn check_password(password: &str, kept: &str) -> bool {
    let Ok(hash) = PasswordHash::new(kept) else { return false };
    Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_what_they_say_and_end() {
        let (secrets, other) = (Secrets::new([1; 32]), Secrets::new([2; 32]));
        let session = secrets.session(7, Timestamp(1000));
        assert_eq!(secrets.read(&session, Timestamp(999)), Credential::Session(7));
        assert_eq!(secrets.read(&session, Timestamp(1000)), Credential::None, "it is over");
        assert_eq!(other.read(&session, Timestamp(1)), Credential::None);
        let longer = session.replace("_1000_", "_9000_");
        assert_eq!(secrets.read(&longer, Timestamp(1)), Credential::None, "its end cannot be changed");
        assert_eq!(secrets.read(&secrets.key(3), Timestamp(1)), Credential::Key(3));
        assert_eq!(secrets.read(&other.key(3), Timestamp(1)), Credential::None);
        for nothing in ["", "w3s_", "w3s_1_2", "w3b_k", "w3b_kx_1"] {
            assert_eq!(secrets.read(nothing, Timestamp(1)), Credential::None, "{nothing:?}");
        }
        let (project, publisher) = ("p".parse().unwrap(), "d".parse().unwrap());
        let token = secrets.token(&project, &publisher, 1);
        assert_ne!(token, secrets.token(&project, &publisher, 2));
        assert_eq!(secrets.read(&token, Timestamp(1)), Credential::Token(token.clone()));
    }

    #[test]
    fn a_password_is_kept_as_a_hash() {
        let kept = hash_password("secret", &[5; 32]).unwrap();
        assert!(kept.starts_with("$argon2id$") && !kept.contains("secret"));
        assert!(check_password("secret", &kept));
        assert!(!check_password("Secret", &kept));
        assert!(!check_password("secret", "nonsense"));
    }
}
