//! MQTT packets by hand, good and bad ones, and a client of a few lines.

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::timeout;

use crate::net::Line;

/// How long an answer may take before an honest client takes its connection for dead.
const PATIENCE: Duration = Duration::from_secs(30);

/// A packet with its Remaining Length.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    out.extend(length(body.len()));
    out.extend(body);
    out
}

/// A variable byte integer.
pub(crate) fn length(mut n: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = u8::try_from(n & 0x7f).unwrap_or(0);
        n >>= 7;
        out.push(if n > 0 { low | 0x80 } else { low });
        if n == 0 {
            return out;
        }
    }
}

/// Two bytes of length, and the bytes.
pub(crate) fn text(bytes: &[u8]) -> Vec<u8> {
    let mut out = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    out.extend(bytes);
    out
}

/// CONNECT with a clean start and a keep alive of ten minutes. `level` is 4 or 5.
pub(crate) fn connect(level: u8, client_id: &str) -> Vec<u8> {
    connect_with(level, 2, client_id.as_bytes(), &[])
}

/// The same with these flags and with what follows the client id.
pub(crate) fn connect_with(level: u8, flags: u8, client_id: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut body = text(b"MQTT");
    body.extend([level, flags, 2, 88]);
    if level == 5 {
        body.push(0);
    }
    body.extend(text(client_id));
    body.extend(rest);
    packet(0x10, &body)
}

/// PUBLISH; a packet id stands there if there is one.
pub(crate) fn publish(level: u8, topic: &str, id: Option<(u8, u16)>, payload: &[u8]) -> Vec<u8> {
    let mut body = text(topic.as_bytes());
    let mut first = 0x30;
    if let Some((qos, id)) = id {
        first |= qos << 1;
        body.extend(id.to_be_bytes());
    }
    if level == 5 {
        body.push(0);
    }
    body.extend(payload);
    packet(first, &body)
}

/// SUBSCRIBE to these filters.
pub(crate) fn subscribe<'a>(level: u8, id: u16, filters: impl Iterator<Item = &'a str>, qos: u8) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if level == 5 {
        body.push(0);
    }
    for filter in filters {
        body.extend(text(filter.as_bytes()));
        body.push(qos);
    }
    packet(0x82, &body)
}

/// A whole packet at the front of `buffer`.
pub(crate) fn take(buffer: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (mut n, mut at) = (0_usize, 1);
    loop {
        let byte = *buffer.get(at)?;
        n |= usize::from(byte & 0x7f) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 || at > 4 {
            break;
        }
    }
    let body = buffer.get(at..at + n)?.to_vec();
    let first = *buffer.first()?;
    buffer.drain(..at + n);
    Some((first, body))
}

/// A client that has connected.
pub(crate) struct Client {
    pub(crate) line: Line,
    buffer: Vec<u8>,
    /// What CONNACK said of unanswered messages; 65,535 if nothing.
    pub(crate) window: u16,
}

impl Client {
    /// Connects with MQTT 5.
    pub(crate) async fn new(mut line: Line, client_id: &str) -> anyhow::Result<Self> {
        line.send(&connect(5, client_id)).await?;
        let mut client = Self { line, buffer: Vec::new(), window: u16::MAX };
        let (first, body) = client.next().await?;
        if first != 0x20 || body.get(1) != Some(&0) {
            bail!("not granted: {first:#x} {body:?}");
        }
        // Receive Maximum, which this node sends, is 0x21.
        let properties = body.get(3..).unwrap_or_default();
        if let [0x21, high, low, ..] = properties {
            client.window = u16::from_be_bytes([*high, *low]);
        } else if let Some(at) = properties.windows(3).position(|w| w.first() == Some(&0x21)) {
            let bytes = [at + 1, at + 2].map(|i| properties.get(i).copied().unwrap_or(u8::MAX));
            client.window = u16::from_be_bytes(bytes);
        }
        Ok(client)
    }

    /// The next packet.
    pub(crate) async fn next(&mut self) -> anyhow::Result<(u8, Vec<u8>)> {
        loop {
            if let Some(packet) = take(&mut self.buffer) {
                return Ok(packet);
            }
            let more = timeout(PATIENCE, self.line.read()).await.context("the broker is silent")??;
            if more.is_empty() {
                bail!("the broker has closed");
            }
            self.buffer.extend(more);
        }
    }

    /// Sends one message at QoS 1 and waits for its PUBACK; gives the reason code.
    pub(crate) async fn publish(&mut self, topic: &str, id: u16, payload: &[u8]) -> anyhow::Result<u8> {
        self.line.send(&publish(5, topic, Some((1, id)), payload)).await?;
        loop {
            let (first, body) = self.next().await?;
            match first {
                0x40 if body.get(..2) == Some(&id.to_be_bytes()) => {
                    return Ok(body.get(2).copied().unwrap_or(0));
                }
                0xe0 => bail!("disconnected: {body:?}"),
                _ => {}
            }
        }
    }
}
