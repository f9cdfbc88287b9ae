//! HTTP/1.1 by hand: what is sent is exactly what an attacker wants to send.

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use crate::net::{BoxedIo, put};

const PATIENCE: Duration = Duration::from_secs(40);
/// More than any answer that is asked for here.
const MOST: usize = 4 << 20;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }
}

/// A connection that is kept.
pub(crate) struct Client {
    io: BoxedIo,
    buffer: Vec<u8>,
}

/// A POST with a body.
pub(crate) fn post(path: &str, kind: &str, more: &str, body: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n{more}Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    out.extend(body);
    out
}

impl Client {
    pub(crate) fn new(io: BoxedIo) -> Self {
        Self { io, buffer: Vec::new() }
    }

    /// Sends bytes and reads one answer that has a Content-Length.
    pub(crate) async fn ask(&mut self, bytes: &[u8]) -> anyhow::Result<Answer> {
        put(&mut self.io, bytes).await?;
        timeout(PATIENCE, self.answer()).await.context("no answer")?
    }

    async fn answer(&mut self) -> anyhow::Result<Answer> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(self.buffer.get(..end).unwrap_or_default()).to_lowercase();
        self.buffer.drain(..end);
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).context("no status")?;
        let mut answer = Answer { status, head, body: Vec::new() };
        let length: usize = answer.header("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
        while self.buffer.len() < length {
            self.more().await?;
        }
        answer.body = self.buffer.drain(..length).collect();
        Ok(answer)
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        let mut part = [0; 4096];
        let n = self.io.read(&mut part).await?;
        if n == 0 || self.buffer.len() > MOST {
            bail!("the connection ended");
        }
        self.buffer.extend(part.get(..n).unwrap_or_default());
        Ok(())
    }
}
