//! `POST /v1/task` and `GET /v1/task/{id}` of the third generation: messages that a device has signed, in a form of their own.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use w3bstream_types::{Address, Digest, Malformed, keccak256};

use super::json::{compact, members};

/// A signed task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The device's own number of the task, not 0.
    pub nonce: u64,
    /// The project's number or name.
    pub project_id: String,
    /// The project's version, or empty.
    pub project_version: String,
    /// What an applet gets: the JSON as it was sent, or the bytes of the hex digits.
    pub payload: Vec<u8>,
    /// `r ‖ s`.
    pub signature: [u8; 64],
}

/// Who may have signed a task: two keys fit a signature that does not say which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// The key's address; its DID is `did:io:` and this.
    pub address: Address,
    /// The task's id if it was this one.
    pub task_id: Digest,
}

impl Signer {
    /// The key's DID, as the original's registry names devices.
    #[must_use]
    pub fn did(&self) -> String {
        format!("did:io:{}", self.address)
    }

    /// The task's id as it is shown: `0x` and 64 hex digits.
    #[must_use]
    pub fn task_id_text(&self) -> String {
        format!("0x{}", self.task_id)
    }
}

impl Task {
    /// Reads a task.
    ///
    /// # Errors
    /// [`Malformed`] naming the member.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(body).map_err(|_| Malformed::new("task", "is not UTF-8"))?;
        let members = members(text)?;
        let raw = |name: &str| members.iter().find(|(n, _)| n == name).map_or("", |(_, raw)| *raw);
        let text = |name: &'static str| plain(name, raw(name));
        let nonce: u64 =
            text("nonce")?.parse().map_err(|_| Malformed::new("nonce", "must be a whole number"))?;
        if nonce == 0 {
            return Err(Malformed::new("nonce", "must not be 0"));
        }
        let project_id = text("projectID")?;
        if project_id.is_empty() {
            return Err(Malformed::new("projectID", "is missing"));
        }
        let signature = text("signature")?;
        let mut bytes = [0; 64];
        hex::decode_to_slice(signature.strip_prefix("0x").unwrap_or(&signature), &mut bytes)
            .map_err(|_| Malformed::new("signature", "must be 0x and 128 hex digits: r and s, without v"))?;
        let project_version = text("projectVersion")?;
        let payload = payload(raw("payload"))?;
        Ok(Self { nonce, project_id, project_version, payload, signature: bytes })
    }

    /// The task as JSON without its signature, byte for byte as the original wrote it before hashing.
    #[must_use]
    pub fn unsigned_json(&self) -> String {
        let quoted = |text: &str| Value::from(text).to_string();
        let version = if self.project_version.is_empty() {
            String::new()
        } else {
            format!(",\"projectVersion\":{}", quoted(&self.project_version))
        };
        let payload = match json_of(&self.payload) {
            Some(json) => json.to_owned(),
            None => quoted(&hex::encode(&self.payload)),
        };
        let (nonce, project) = (self.nonce, quoted(&self.project_id));
        compact(&format!("{{\"nonce\":{nonce},\"projectID\":{project}{version},\"payload\":{payload}}}"))
    }

    /// What the device signed: SHA-256 of [`Self::unsigned_json`]; or, if the project names members of the payload that
    /// are signed too, SHA-256 of that and of each as a little-endian 64-bit number.
    ///
    /// # Errors
    /// [`Malformed`] if members are named and the payload is no JSON.
    pub fn hash(&self, signed_keys: &[String]) -> Result<Digest, Malformed> {
        let plain = Digest::of(self.unsigned_json().as_bytes());
        if signed_keys.is_empty() {
            return Ok(plain);
        }
        let no_json = || Malformed::new("payload", "must be JSON, because the project signs members of it");
        let payload: Value =
            json_of(&self.payload).and_then(|j| serde_json::from_str(j).ok()).ok_or_else(no_json)?;
        let mut bytes = plain.as_bytes().to_vec();
        for key in signed_keys {
            let found = key.split('.').try_fold(&payload, |at, level| at.get(level));
            bytes.extend(number(found).to_le_bytes());
        }
        Ok(Digest::of(&bytes))
    }

    /// Who may have signed `hash`: none if the signature is none.
    #[must_use]
    pub fn signers(&self, hash: &Digest) -> Vec<Signer> {
        let Ok(given) = k256::ecdsa::Signature::from_slice(&self.signature) else { return Vec::new() };
        // Small devices' libraries make either of the two signatures of a pair; they recover to the same two keys, crosswise.
        let low = given.normalize_s();
        let (crosswise, low) = (low.is_some(), low.unwrap_or(given));
        let signer = |id: u8| {
            let v = 27 + (id ^ u8::from(crosswise));
            let mut ethereum = low.to_bytes().to_vec();
            ethereum.push(v);
            let address = Address::recover(hash.as_bytes(), &ethereum).ok()?;
            let named: Vec<u8> = self.signature.iter().copied().chain([id]).collect();
            Some(Signer { address, task_id: Digest::from_bytes(keccak256(&named)) })
        };
        [0, 1].into_iter().filter_map(signer).collect()
    }
}

/// A text, or a number's digits; empty if it is missing or null.
fn plain(name: &'static str, raw: &str) -> Result<String, Malformed> {
    match serde_json::from_str(raw) {
        Ok(Value::String(text)) => Ok(text),
        Ok(Value::Number(_)) => Ok(raw.to_owned()),
        Ok(Value::Null) | Err(_) => Ok(String::new()),
        Ok(_) => Err(Malformed::new(name, "must be a text or a number")),
    }
}

fn payload(raw: &str) -> Result<Vec<u8>, Malformed> {
    let bad = || Malformed::new("payload", "must be a JSON object or list, or a text of hex digits");
    match raw.chars().next() {
        Some('{' | '[') => Ok(raw.as_bytes().to_vec()),
        Some('"') => {
            let digits: String = serde_json::from_str(raw).map_err(|_| bad())?;
            hex::decode(digits).map_err(|_| bad())
        }
        _ => Err(bad()),
    }
}

/// The bytes as JSON, if they are any: hex digits of JSON are signed as JSON.
fn json_of(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok().map(|_| text)
}

/// A member of the payload as the original read it as a number: 0 if it is none.
fn number(value: Option<&Value>) -> u64 {
    match value {
        Some(Value::Number(n)) => n.as_u64().or_else(|| n.as_i64().map(i64::cast_unsigned)).unwrap_or(0),
        Some(Value::String(text)) => text.parse().unwrap_or(0),
        Some(Value::Bool(true)) => 1,
        _ => 0,
    }
}

/// The answer to a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskAnswer {
    /// The task's id: `0x` and 64 hex digits.
    #[serde(rename = "taskID")]
    pub task_id: String,
}

/// Where a task is; without states if the node does not know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStates {
    /// The project's number, or empty.
    #[serde(rename = "projectID")]
    pub project_id: String,
    /// The task's id as it was asked for.
    #[serde(rename = "taskID")]
    pub task_id: String,
    /// What it has reached, oldest first.
    pub states: Vec<TaskState>,
}

/// One state: `packed`, `assigned`, `settled` or `failed`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskState {
    /// Its name.
    pub state: String,
    /// When it was reached, RFC 3339.
    pub time: String,
    /// In words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// The transaction that settled it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub transaction_hash: String,
    /// Who executes it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prover_id: String,
}

#[cfg(test)]
mod tests {
    use w3bstream_types::{Algorithm, SecretKey};

    use super::*;

    fn signed(unsigned: &str, hash: &Digest, high: bool) -> (Task, Address) {
        let key = SecretKey::from_bytes(Algorithm::ES256K, &[9; 32]).unwrap();
        let signature = key.sign_recoverable(hash.as_bytes()).unwrap();
        let low = k256::ecdsa::Signature::from_slice(&signature[..64]).unwrap();
        let (r, s) = low.split_scalars();
        let sent = if high {
            k256::ecdsa::Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap()
        } else {
            low
        };
        let (open, sent) = (&unsigned[..unsigned.len() - 1], hex::encode(sent.to_bytes()));
        let body = format!("{open},\"signature\":\"0x{sent}\"}}");
        (Task::parse(body.as_bytes()).unwrap(), Address::of_key(&key.public()).unwrap())
    }

    #[test]
    fn a_task_is_hashed_as_the_original_wrote_it() {
        let sent =
            br#" {"signature":"0xSIG", "projectID" : 923, "payload": { "b":1.50, "a":"<x>" }, "nonce":5}"#;
        let sent = String::from_utf8_lossy(sent).replace("SIG", &"11".repeat(64));
        let task = Task::parse(sent.as_bytes()).unwrap();
        assert_eq!(
            task.unsigned_json(),
            r#"{"nonce":5,"projectID":"923","payload":{"b":1.50,"a":"\u003cx\u003e"}}"#
        );
        assert_eq!(task.hash(&[]).unwrap(), Digest::of(task.unsigned_json().as_bytes()));
    }

    #[test]
    fn hex_is_signed_as_hex_unless_it_is_json() {
        let body = |payload: &str| {
            format!(
                r#"{{"nonce":1,"projectID":"6","projectVersion":"v1","payload":"{payload}","signature":"{}"}}"#,
                "11".repeat(64)
            )
        };
        let task = Task::parse(body("00FF").as_bytes()).unwrap();
        assert_eq!(task.payload, [0, 255]);
        assert_eq!(
            task.unsigned_json(),
            r#"{"nonce":1,"projectID":"6","projectVersion":"v1","payload":"00ff"}"#
        );
        let json = Task::parse(body(&hex::encode(r#"{"a": 1}"#)).as_bytes()).unwrap();
        assert_eq!(
            json.unsigned_json(),
            r#"{"nonce":1,"projectID":"6","projectVersion":"v1","payload":{"a":1}}"#
        );
    }

    #[test]
    fn the_signer_is_one_of_two_whichever_signature_of_the_pair_was_sent() {
        let unsigned = r#"{"nonce":1,"projectID":"6","payload":{"timestamp":7}}"#;
        let hash = Digest::of(unsigned.as_bytes());
        for high in [false, true] {
            let (task, address) = signed(unsigned, &hash, high);
            let signers = task.signers(&task.hash(&[]).unwrap());
            assert_eq!(signers.iter().filter(|s| s.address == address).count(), 1, "high: {high}");
            assert_ne!(signers[0].task_id, signers[1].task_id);
            let of_first = [&task.signature[..], &[0]].concat();
            assert_eq!(signers[0].task_id.as_bytes(), &keccak256(&of_first));
            assert!(signers[0].did().starts_with("did:io:0x") && signers[0].task_id_text().len() == 66);
            // Another text is signed by somebody else.
            let other = task.signers(&Digest::of(b"other"));
            assert!(other.iter().all(|s| s.address != address));
        }
    }

    #[test]
    fn named_members_are_signed_too() {
        let unsigned = r#"{"nonce":1,"projectID":"6","payload":{"timestamp":7,"at":{"lat":-1}}}"#;
        let (task, _) = signed(unsigned, &Digest::of(b"x"), false);
        let keys = ["timestamp".to_owned(), "at.lat".to_owned(), "none".to_owned()];
        let mut bytes = Digest::of(task.unsigned_json().as_bytes()).as_bytes().to_vec();
        bytes.extend(7_u64.to_le_bytes());
        bytes.extend(u64::MAX.to_le_bytes());
        bytes.extend(0_u64.to_le_bytes());
        assert_eq!(task.hash(&keys).unwrap(), Digest::of(&bytes));
        let hex = Task { payload: vec![0xff], ..task };
        hex.hash(&keys).unwrap_err();
    }

    #[test]
    fn what_is_no_task_is_refused() {
        let whole =
            format!(r#"{{"nonce":1,"projectID":"6","payload":{{}},"signature":"{}"}}"#, "11".repeat(64));
        Task::parse(whole.as_bytes()).unwrap();
        for (from, to) in [
            ("\"nonce\":1", "\"nonce\":0"),
            ("\"nonce\":1", "\"nonce\":-1"),
            ("\"6\"", "\"\""),
            ("\"6\"", "[]"),
            ("{},", "7,"),
            ("{},", "\"0\","),
            ("1111", "11"),
            ("\"nonce\"", "\"payload\""),
        ] {
            Task::parse(whole.replacen(from, to, 1).as_bytes()).unwrap_err();
        }
        Task::parse(b"\xff").unwrap_err();
        let none = Task { signature: [0; 64], ..Task::parse(whole.as_bytes()).unwrap() };
        assert!(none.signers(&Digest::ZERO).is_empty());
    }
}
