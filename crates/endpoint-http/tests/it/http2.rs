//! HTTP/2 with prior knowledge, frame by frame, as no honest client would.

use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;
use w3bstream_endpoint::Endpoint as _;
use w3bstream_endpoint_http::HttpLimits;

use crate::harness::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;
const HEADERS: u8 = 1;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of `GET path`, in HPACK without a table.
fn head(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x01, 1, b't', 0x04, u8::try_from(path.len()).unwrap()];
    block.extend_from_slice(path.as_bytes());
    block
}

async fn connect(server: &Server, settings: &[u8]) -> Client {
    let mut client = server.client().await;
    client.send(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()).await;
    client
}

/// Reads frames up to one that `wanted` likes; `None` if the connection ends before.
async fn until(client: &mut Client, wanted: impl Fn(u8, u32) -> bool) -> Option<Vec<u8>> {
    loop {
        let mut fixed = [0; 9];
        timeout(PATIENCE, client.stream.read_exact(&mut fixed)).await.expect("in time").ok()?;
        let length = u32::from_be_bytes([0, fixed[0], fixed[1], fixed[2]]) as usize;
        let mut payload = vec![0; length];
        timeout(PATIENCE, client.stream.read_exact(&mut payload)).await.expect("in time").ok()?;
        if wanted(fixed[3], u32::from_be_bytes([fixed[5], fixed[6], fixed[7], fixed[8]])) {
            return Some(payload);
        }
    }
}

/// Sends `bytes` every 40 ms until the server ends the connection.
async fn keep_sending(client: &mut Client, bytes: &[u8]) -> Duration {
    let start = Instant::now();
    let mut sink = [0; 1024];
    while start.elapsed() < PATIENCE {
        client.send(bytes).await;
        if let Ok(Ok(0) | Err(_)) = timeout(Duration::from_millis(40), client.stream.read(&mut sink)).await {
            return start.elapsed();
        }
    }
    panic!("the server listens for ever");
}

#[tokio::test]
async fn pings_do_not_keep_a_connection() {
    let server = start(quick());
    let ping = frame(PING, 0, 0, &[0; 8]);
    let mut client = connect(&server, &[]).await;
    let took = keep_sending(&mut client, &ping).await;
    assert!(took < quick().head_timeout + Duration::from_millis(400), "{took:?}");
    // After a request it is silence that counts, and a ping is silence.
    let mut client = connect(&server, &[]).await;
    client.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &head("/livez"))).await;
    assert!(until(&mut client, |kind, stream| kind == HEADERS && stream == 1).await.is_some());
    let took = keep_sending(&mut client, &ping).await;
    assert!(took + Duration::from_millis(50) >= quick().idle_timeout, "{took:?}");
    assert!(took < quick().idle_timeout + Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn a_head_in_endless_pieces_is_cut_off() {
    let server = start(quick());
    let mut client = connect(&server, &[]).await;
    client.send(&frame(HEADERS, END_STREAM, 1, &head("/livez"))).await;
    let took = keep_sending(&mut client, &frame(CONTINUATION, 0, 1, &[])).await;
    assert!(took < quick().head_timeout + Duration::from_millis(400), "{took:?}");
}

#[tokio::test]
async fn a_window_that_never_opens_is_cut_off() {
    let server = start(quick());
    // SETTINGS_INITIAL_WINDOW_SIZE = 0: not one byte of a body may be sent.
    let mut client = connect(&server, &[0, 4, 0, 0, 0, 0]).await;
    client.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &head("/openapi.json"))).await;
    assert!(until(&mut client, |kind, stream| kind == HEADERS && stream == 1).await.is_some());
    let start = Instant::now();
    assert!(until(&mut client, |kind, stream| kind == 0 && stream == 1).await.is_none());
    let took = start.elapsed();
    assert!(took + Duration::from_millis(50) >= quick().write_timeout, "{took:?}");
    assert!(took < quick().write_timeout + Duration::from_secs(1), "{took:?}");
    assert!(server.metric("w3bstream_http_connections_cut_total{deadline=\"write\"} 1").await);
}

#[tokio::test]
async fn a_live_stream_whose_window_shuts_is_cut_off() {
    // Not for its silence to pings, which comes with the idle time.
    let server = start(HttpLimits { idle_timeout: PATIENCE * 2, ..quick() });
    // Room for the beginning and a comment or two, and never for more.
    let mut client = connect(&server, &[0, 4, 0, 0, 0, 60]).await;
    client.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &head(EVENTS))).await;
    assert!(until(&mut client, |kind, stream| kind == 0 && stream == 1).await.is_some());
    let start = Instant::now();
    while until(&mut client, |_, _| true).await.is_some() {}
    let took = start.elapsed();
    assert!(took + Duration::from_millis(50) >= quick().write_timeout, "{took:?}");
    assert!(took < quick().write_timeout + Duration::from_secs(2), "{took:?}");
    assert!(server.metric("w3bstream_http_connections_cut_total{deadline=\"write\"} 1").await);
    assert!(server.metric("w3bstream_http_event_streams 0").await);
}

#[tokio::test]
async fn stopping_says_goodbye() {
    let server = start(quick());
    let mut client = connect(&server, &[]).await;
    client.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &head("/livez"))).await;
    assert!(until(&mut client, |kind, stream| kind == HEADERS && stream == 1).await.is_some());
    server.endpoint.stop_intake().await;
    assert!(until(&mut client, |kind, _| kind == GOAWAY).await.is_some());
}
