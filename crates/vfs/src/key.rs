//! Keys of a project's replicated state. The first byte is the namespace; the parts behind it are each
//! preceded by their length, so that no two different names give one key.

use w3bstream_types::{AppletName, Did, Digest, PublisherName, SourceId};

/// Namespaces.
const GUEST: u8 = 1;
const MANIFEST: u8 = 2;
const DEVICE: u8 = 3;
const REVOKED_DEVICE: u8 = 4;
const WINDOW: u8 = 5;
const PUBLISHER: u8 = 6;
const TOKEN: u8 = 7;
const NONCE: u8 = 8;
const SQL_ROW: u8 = 9;
const REMOVED: u8 = 10;

fn key(namespace: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![namespace];
    for part in parts {
        // Parts are far below 64 KiB; the engine's limits see to it for a guest's keys.
        key.extend_from_slice(&u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
        key.extend_from_slice(part);
    }
    key
}

/// A guest's own key. `partition` is empty, or [`part_of`] whom the message is from.
#[must_use]
pub fn guest(applet: &AppletName, partition: &[u8], name: &[u8]) -> Vec<u8> {
    key(GUEST, &[applet.as_str().as_bytes(), partition, name])
}

/// The part of the state of whom a message is from, in an applet whose state is split by device. As long for every DID.
#[must_use]
pub fn part_of(source: &SourceId) -> Digest {
    Digest::tagged("w3b/partition/1", &[source.to_string().as_bytes()])
}

/// The manifest in force.
#[must_use]
pub fn manifest() -> Vec<u8> {
    key(MANIFEST, &[])
}

/// A device's registration.
#[must_use]
pub fn device(did: &Did) -> Vec<u8> {
    key(DEVICE, &[did.as_str().as_bytes()])
}

/// All device registrations start with this.
#[must_use]
pub fn devices() -> Vec<u8> {
    vec![DEVICE]
}

/// There if a device was revoked.
#[must_use]
pub fn revoked_device(did: &Did) -> Vec<u8> {
    key(REVOKED_DEVICE, &[did.as_str().as_bytes()])
}

/// A device's sequence window.
#[must_use]
pub fn window(did: &Did) -> Vec<u8> {
    key(WINDOW, &[did.as_str().as_bytes()])
}

/// A publisher's token registration.
#[must_use]
pub fn publisher(name: &PublisherName) -> Vec<u8> {
    key(PUBLISHER, &[name.as_str().as_bytes()])
}

/// All publishers start with this.
#[must_use]
pub fn publishers() -> Vec<u8> {
    vec![PUBLISHER]
}

/// From a token's hash to its publisher.
#[must_use]
pub fn token(hash: &Digest) -> Vec<u8> {
    key(TOKEN, &[hash.as_bytes()])
}

/// The digest of a row of the project's database, by its table and number.
#[must_use]
pub fn sql_row(table: &str, rowid: i64) -> Vec<u8> {
    key(SQL_ROW, &[table.as_bytes(), &rowid.to_be_bytes()])
}

/// The table and number of a row, if a key is one of [`sql_row`], for people.
#[must_use]
pub fn sql_row_of(key: &[u8]) -> Option<String> {
    let (SQL_ROW, rest) = key.split_first().map(|(n, rest)| (*n, rest))? else { return None };
    let (size, rest) = rest.split_first_chunk::<2>()?;
    let (table, rest) = rest.split_at_checked(u16::from_be_bytes(*size).into())?;
    let number = rest.get(2..).and_then(|n| <[u8; 8]>::try_from(n).ok())?;
    Some(format!("{} {}", std::str::from_utf8(table).ok()?, i64::from_be_bytes(number)))
}

/// The nonce of the last applied control transaction.
#[must_use]
pub fn control_nonce() -> Vec<u8> {
    key(NONCE, &[])
}

/// There once the project was removed: the height, as eight bytes (big-endian).
#[must_use]
pub fn removed() -> Vec<u8> {
    key(REMOVED, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rows_key_is_read_back_and_others_are_none() {
        assert_eq!(sql_row_of(&sql_row("readings", -7)).as_deref(), Some("readings -7"));
        assert_eq!(sql_row_of(&manifest()), None);
        let key = sql_row("t", 1);
        assert!((0..key.len()).all(|short| sql_row_of(&key[..short]).is_none()));
    }
}
