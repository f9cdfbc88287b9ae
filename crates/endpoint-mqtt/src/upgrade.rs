//! The HTTP request that begins a WebSocket (RFC 6455, section 4.2), read and judged before anything is believed.

use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::MqttConfig;
use crate::stream::BoxedStream;
use crate::websocket::WebSocket;

/// Where MQTT is spoken.
pub(crate) const PATH: &str = "/mqtt";
/// Headers of the request.
const MAX_HEADERS: usize = 64;
/// How long a peer that was refused is heard out, so that it gets to read why.
const LINGER: Duration = Duration::from_millis(500);

/// What is to be done with a request.
#[derive(Debug, PartialEq, Eq)]
enum Judged {
    /// More must be read.
    Partial,
    /// Answer with the key; the request has so many bytes.
    Accept(String, usize),
    Refuse(No),
}

/// A status line without its version, headers that belong to it, and why.
#[derive(Debug, PartialEq, Eq)]
struct No(&'static str, &'static str, &'static str);

impl No {
    const fn bad(why: &'static str) -> Self {
        Self("400 Bad Request", "", why)
    }
}

/// Reads the request and answers it.
pub(crate) async fn upgrade(mut stream: BoxedStream, config: &MqttConfig) -> Result<BoxedStream, String> {
    let failed = |e: std::io::Error| format!("the upgrade to WebSocket broke off: {e}");
    let mut head = Vec::new();
    let refused = loop {
        match judge(&head, &config.web_socket_origins) {
            Judged::Accept(key, len) => {
                let answer = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Accept: {key}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
                );
                stream.write_all(answer.as_bytes()).await.map_err(failed)?;
                stream.flush().await.map_err(failed)?;
                let begun = head.split_off(len);
                return Ok(Box::pin(WebSocket::new(stream, begun, config).await));
            }
            Judged::Refuse(no) => break no,
            Judged::Partial if head.len() >= config.max_upgrade_bytes => {
                break No("431 Request Header Fields Too Large", "", "the request is too long");
            }
            Judged::Partial => {}
        }
        let room = config.max_upgrade_bytes - head.len();
        let mut chunk = [0; 1024];
        let part = chunk.get_mut(..room.min(1024)).unwrap_or_default();
        match stream.read(part).await.map_err(failed)? {
            0 => return Err("the peer went away before it asked for a WebSocket".to_owned()),
            n => head.extend_from_slice(part.get(..n).unwrap_or_default()),
        }
    };
    refuse(stream, &refused).await;
    Err(format!("no WebSocket: {}", refused.2))
}

async fn refuse(mut stream: BoxedStream, No(status, headers, why): &No) {
    let answer = format!(
        "HTTP/1.1 {status}\r\n{headers}Connection: close\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{why}\n",
        why.len() + 1
    );
    let heard_out = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        let mut chunk = [0; 1024];
        while stream.read(&mut chunk).await? > 0 {}
        std::io::Result::Ok(())
    };
    let _ = timeout(LINGER, heard_out).await;
}

fn judge(head: &[u8], origins: &[String]) -> Judged {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let len = match request.parse(head) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Judged::Partial,
        Err(_) => {
            return Judged::Refuse(No::bad("this is no HTTP request; MQTT is spoken here in a WebSocket"));
        }
    };
    match check(&request, origins) {
        Ok(key) => Judged::Accept(derive_accept_key(key), len),
        Err(no) => Judged::Refuse(no),
    }
}

/// Judges a request that may be anything, and its beginnings.
#[cfg(feature = "fuzzing")]
pub(crate) fn judge_any(head: &[u8]) {
    let origins = ["https://app.example".to_owned()];
    let Judged::Accept(key, len) = judge(head, &origins) else { return };
    assert!(len <= head.len() && key.len() == 28);
    assert_eq!(judge(head.get(..len).unwrap_or_default(), &origins), Judged::Accept(key, len));
    let before = head.get(..len.saturating_sub(1)).unwrap_or_default();
    assert_eq!(judge(before, &origins), Judged::Partial, "a request without its end is accepted");
}

/// Checks a request and gives its key.
fn check<'a>(request: &'a httparse::Request<'_, '_>, origins: &[String]) -> Result<&'a [u8], No> {
    let all = |name: &'static str| {
        request.headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value)
    };
    let lists = |name, word: &str, exact: bool| {
        all(name)
            .filter_map(|v| std::str::from_utf8(v).ok())
            .flat_map(|v| v.split(','))
            .map(str::trim)
            .any(|item| if exact { item == word } else { item.eq_ignore_ascii_case(word) })
    };
    let path = request.path.unwrap_or_default();
    if path.split('?').next() != Some(PATH) {
        return Err(No("404 Not Found", "", "MQTT over WebSocket is at /mqtt"));
    }
    if request.method != Some("GET") {
        return Err(No("405 Method Not Allowed", "Allow: GET\r\n", "a WebSocket begins with GET"));
    }
    if request.version != Some(1)
        || !lists("connection", "upgrade", false)
        || !lists("upgrade", "websocket", false)
    {
        let headers = "Upgrade: websocket\r\n";
        return Err(No("426 Upgrade Required", headers, "only MQTT over WebSocket is spoken here"));
    }
    if all("sec-websocket-version").next() != Some(b"13") {
        let headers = "Sec-WebSocket-Version: 13\r\n";
        return Err(No("426 Upgrade Required", headers, "WebSocket version 13 is spoken here"));
    }
    if all("host").count() != 1 {
        return Err(No::bad("one Host is needed"));
    }
    let mut keys = all("sec-websocket-key");
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) if is_key(key) => key,
        _ => return Err(No::bad("one Sec-WebSocket-Key of 16 bytes in base64 is needed")),
    };
    if !lists("sec-websocket-protocol", "mqtt", true) {
        return Err(No::bad("the subprotocol must be mqtt (Sec-WebSocket-Protocol: mqtt)"));
    }
    if !all("origin").all(|o| std::str::from_utf8(o).is_ok_and(|o| may_come(o, origins))) {
        let why = "pages of this origin may not connect; the node's web_socket_origins names those that may";
        return Err(No("403 Forbidden", "", why));
    }
    Ok(key)
}

fn is_key(key: &[u8]) -> bool {
    let digit = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key.iter().take(22).all(digit)
}

/// Whether pages of an origin may connect: those that are named, and those on this machine.
fn may_come(origin: &str, origins: &[String]) -> bool {
    if origins.iter().any(|o| o == "*" || o.trim_end_matches('/').eq_ignore_ascii_case(origin)) {
        return true;
    }
    let Some((_, authority)) = origin.split_once("://") else { return false };
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "GET /mqtt HTTP/1.1\r\nHost: node:9001\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqttv3.1, mqtt\r\n";

    fn status(request: &str, origins: &[String]) -> String {
        match judge(format!("{request}\r\n").as_bytes(), origins) {
            Judged::Accept(key, _) => key,
            Judged::Refuse(no) => no.0[..3].to_owned(),
            Judged::Partial => "more".to_owned(),
        }
    }

    #[test]
    fn a_request_is_judged_by_all_that_it_says() {
        // The example of RFC 6455, section 1.3.
        assert_eq!(status(GOOD, &[]), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(status(&GOOD.replace("/mqtt ", "/mqtt?x=1 "), &[]), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for (was, is, code) in [
            ("GET", "POST", "405"),
            ("/mqtt ", "/ ", "404"),
            ("HTTP/1.1", "HTTP/1.0", "426"),
            ("Upgrade: WebSocket\r\n", "", "426"),
            ("keep-alive, Upgrade", "keep-alive", "426"),
            ("Version: 13", "Version: 8", "426"),
            ("Host: node:9001\r\n", "", "400"),
            ("ub25jZQ==", "u=", "400"),
            ("Key: dGhlIHNhbXBsZSBub25jZQ==", "Key: !!hlIHNhbXBsZSBub25jZQ==", "400"),
            ("mqttv3.1, mqtt", "mqttv3.1, MQTT", "400"),
            ("Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\n", "", "400"),
            ("GET", "\u{10}MQTT", "400"),
            ("Host: node:9001\r\n", &"X: y\r\n".repeat(MAX_HEADERS + 1), "400"),
        ] {
            assert!(GOOD.contains(was), "{was}");
            assert_eq!(status(&GOOD.replace(was, is), &[]), code, "{was} → {is}");
        }
        for end in 0..GOOD.len() {
            assert_eq!(judge(&GOOD.as_bytes()[..end], &[]), Judged::Partial);
        }
    }

    #[test]
    fn pages_come_from_this_machine_or_from_the_list() {
        let named = ["https://app.example".to_owned()];
        let cases = [
            ("http://localhost:5173", true, true),
            ("http://127.0.0.1", true, true),
            ("http://[::1]:80", true, true),
            ("https://app.example", false, true),
            ("https://app.example:444", false, false),
            ("http://app.example", false, false),
            // The name of the Host is no reason: it may have been made to point here.
            ("http://node:9001", false, false),
            ("http://localhost.evil.example", false, false),
            ("null", false, false),
        ];
        for (origin, alone, with) in cases {
            let request = format!("{GOOD}Origin: {origin}\r\n");
            assert_eq!(status(&request, &[]) != "403", alone, "{origin}");
            assert_eq!(status(&request, &named) != "403", with, "{origin}");
            assert_ne!(status(&request, &["*".to_owned()]), "403", "{origin}");
        }
    }
}
