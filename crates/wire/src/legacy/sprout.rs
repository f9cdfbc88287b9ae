//! `POST /message` and `GET /message/{id}` of the second generation.

use serde::{Deserialize, Serialize};

/// A message. `project_id` is the number that the node has given the project.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct SproutMessage {
    /// The project's number.
    #[serde(rename = "projectID")]
    pub project_id: u64,
    /// Accepted and not used: a node runs one version of a project at a time.
    #[serde(default, rename = "projectVersion")]
    pub project_version: String,
    /// What an applet gets.
    pub data: String,
}

/// The answer to a message.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct SproutAnswer {
    /// The message's id.
    #[serde(rename = "messageID")]
    pub message_id: String,
}

/// Where a message is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct SproutStates {
    /// The message's id.
    #[serde(rename = "messageID")]
    pub message_id: String,
    /// What it has reached, oldest first.
    pub states: Vec<SproutState>,
}

/// One state: `received`, `packed`, `dispatched`, `proved`, `outputted` or `failed`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct SproutState {
    /// Its name.
    pub state: String,
    /// When it was reached, RFC 3339.
    pub time: String,
    /// In words.
    pub comment: String,
    /// What came of it.
    pub result: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_a_number_and_may_lack_a_version() {
        let read: SproutMessage = serde_json::from_str(r#"{"projectID":21,"data":"{}"}"#).unwrap();
        assert_eq!((read.project_id, read.data.as_str()), (21, "{}"));
        serde_json::from_str::<SproutMessage>(r#"{"projectID":-1,"data":""}"#).unwrap_err();
        let answer = SproutAnswer { message_id: "x".into() };
        assert_eq!(serde_json::to_string(&answer).unwrap(), r#"{"messageID":"x"}"#);
    }
}
