//! `send` and `message`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use hyper::{Method, header};
use serde_json::Value;
use w3bstream_types::{
    Clock as _, Draft, EventType, MessageId, MessageState, ProjectId, ProjectName, Sequence, SystemClock,
};
use w3bstream_wallet_file::DeviceKey;

use super::{Where, print, print_value, read_data};
use crate::{Http, read_running};

#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    #[command(flatten)]
    at: Where,
    /// The project.
    #[arg(long)]
    project: ProjectName,
    /// The event type.
    #[arg(long = "type")]
    event_type: EventType,
    /// The device's key file.
    #[arg(long)]
    device: PathBuf,
    /// The sequence number, instead of the next one of KEYFILE.sequence.
    #[arg(long)]
    sequence: Option<u64>,
    /// Send as a compact JWS instead of a protobuf envelope.
    #[arg(long)]
    jws: bool,
    /// Print the signed JWS instead of sending it; needs --jws.
    #[arg(long, requires = "jws")]
    print: bool,
    /// The payload: text, @file, or - for standard input.
    data: String,
}

#[derive(Debug, Args)]
pub(crate) struct MessageArgs {
    #[command(flatten)]
    at: Where,
    /// The message's id.
    id: MessageId,
    /// Wait until it has reached this state: stored, ordered, executed or attested.
    #[arg(long, value_parser = parse_state)]
    wait: Option<MessageState>,
    /// How long to wait, in seconds.
    #[arg(long, default_value_t = 60)]
    timeout: u64,
}

fn parse_state(text: &str) -> Result<MessageState, String> {
    serde_json::from_value(Value::String(text.to_owned()))
        .map_err(|_| "must be stored, ordered, executed, attested, rejected or conflicted".into())
}

pub(crate) async fn send(args: SendArgs, json: bool) -> anyhow::Result<()> {
    let key = DeviceKey::load(&args.device)?;
    let project = args.at.admin()?.get(&format!("/v1/projects/{}", args.project)).await?;
    let audience: ProjectId = project["id"].as_str().unwrap_or("").parse()?;
    let counter = SequenceFile::of(&args.device);
    let sequence = args.sequence.map_or_else(|| counter.next(), |v| Ok(Sequence::from_u64(v)))?;
    let draft = Draft {
        audience,
        key: key.key_id(),
        event_type: args.event_type,
        sequence,
        time: SystemClock.now(),
        payload: read_data(&args.data)?,
    };
    let (kind, body) = if args.jws {
        (w3bstream_wire::CONTENT_TYPE_JOSE, draft.sign_jws(key.secret()).into_bytes())
    } else {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|e| anyhow::anyhow!("no random numbers: {e}"))?;
        let envelope = draft.sign_envelope(salt, key.secret());
        (w3bstream_wire::CONTENT_TYPE_ENVELOPE, w3bstream_wire::encode_envelope(&envelope))
    };
    if args.print {
        print(String::from_utf8_lossy(&body));
        return Ok(());
    }
    let url = format!("{}/v1/projects/{}/events", read_running(&args.at.paths())?.http, args.project);
    let headers = [(header::CONTENT_TYPE, kind.to_owned())];
    let answer = Http::default().send((Method::POST, &url), &headers, body).await?.ok()?.json()?;
    if args.sequence.is_none() {
        counter.store(sequence)?;
    }
    if json {
        print_value(&answer);
        return Ok(());
    }
    let id = answer["id"].as_str().unwrap_or("");
    print(format!("{}  {id}", if answer["duplicate"] == true { "known before" } else { "accepted" }));
    for r in answer["results"].as_array().into_iter().flatten() {
        print(format!(
            "  {}.{} gave {}",
            r["applet"].as_str().unwrap_or(""),
            r["handler"].as_str().unwrap_or(""),
            r["code"]
        ));
    }
    print(format!("Where is it:  w3bstream message {id}"));
    Ok(())
}

/// The last sequence number that a device has used, beside its key file. Written after the message was
/// acknowledged: a crash before that sends the same number again, with other bytes only if the payload or the
/// time differ, which the node then refuses as a conflict.
struct SequenceFile(PathBuf);

impl SequenceFile {
    fn of(key: &Path) -> Self {
        let mut name = key.as_os_str().to_owned();
        name.push(".sequence");
        Self(name.into())
    }

    fn next(&self) -> anyhow::Result<Sequence> {
        if !self.0.exists() {
            return Ok(Sequence::new(0, 0));
        }
        let text = std::fs::read_to_string(&self.0).with_context(|| self.0.display().to_string())?;
        let last: Sequence = text.trim().parse().with_context(|| self.0.display().to_string())?;
        let next = last.as_u64().checked_add(1).context("the sequence numbers are used up")?;
        Ok(Sequence::from_u64(next))
    }

    fn store(&self, used: Sequence) -> anyhow::Result<()> {
        let new = self.0.with_extension("sequence.new");
        std::fs::write(&new, format!("{used}\n")).with_context(|| new.display().to_string())?;
        std::fs::rename(&new, &self.0).with_context(|| self.0.display().to_string())
    }
}

pub(crate) async fn show(args: MessageArgs, json: bool) -> anyhow::Result<()> {
    let admin = args.at.admin()?;
    let until = Instant::now() + Duration::from_secs(args.timeout);
    let path = format!("/v1/messages/{}", args.id);
    let life = loop {
        let life = admin.get(&path).await?;
        let Some(wanted) = args.wait else { break life };
        let states: Vec<MessageState> = life["states"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|s| serde_json::from_value(s["state"].clone()).ok())
            .collect();
        if states.contains(&wanted) {
            break life;
        }
        let end = states.iter().find(|s| matches!(s, MessageState::Rejected | MessageState::Conflicted));
        if let Some(end) = end {
            bail!("the message ended as {end:?} and will never be {wanted:?}");
        }
        if Instant::now() > until {
            let last = life["states"].as_array().and_then(|s| s.last()).cloned().unwrap_or_default();
            bail!("not {wanted:?} after {} s; it is {}: {}", args.timeout, last["state"], last["reason"]);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    if json {
        print_value(&life);
        return Ok(());
    }
    print(format!("{}  in {}", args.id, life["project"].as_str().unwrap_or("")));
    for s in life["states"].as_array().into_iter().flatten() {
        let text = |name: &str| s[name].as_str().unwrap_or("").to_owned();
        print(format!("  {:10} {}  {}", text("state"), text("time"), text("reason")));
    }
    let settlements = life["settlements"].as_array().map(Vec::as_slice).unwrap_or_default();
    settlements.iter().for_each(|s| print(settlement(s)));
    let more = life["settlement_count"].as_u64().unwrap_or(0).saturating_sub(settlements.len() as u64);
    if more > 0 {
        print(format!("  and {more} settlements more"));
    }
    Ok(())
}

fn settlement(s: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let mut line = format!("  {:10} {} on chain {}", text(&s["state"]), text(&s["name"]), text(&s["chain"]));
    if let Some(transaction) = s["transaction"].as_object() {
        let member = |name: &str| transaction.get(name).map(text).unwrap_or_default();
        let (hash, block, gas) = (member("hash"), member("block"), member("gas"));
        line.push_str(&format!("  {hash} in block {block}, gas {gas}"));
    }
    match text(&s["reason"]) {
        why if why.is_empty() => line,
        why => format!("{line}  {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_are_kept_beside_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let file = SequenceFile::of(&dir.path().join("thermometer.jwk"));
        assert_eq!(file.next().unwrap(), Sequence::new(0, 0));
        file.store(Sequence::new(2, 7)).unwrap();
        assert_eq!(file.next().unwrap(), Sequence::new(2, 8));
        std::fs::write(&file.0, "nonsense").unwrap();
        assert!(format!("{:#}", file.next().unwrap_err()).contains("thermometer.jwk.sequence"));
    }
}
