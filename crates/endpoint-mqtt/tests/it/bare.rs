//! MQTT packets as bytes. Also the tests of endpoint-brokers have this file.

use std::future::Future;
use std::time::Duration;

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(
        async { tokio::time::timeout(Duration::from_secs(30), future).await.expect("the test hangs") },
    )
}

/// A packet with its first byte and its remaining length.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut len = body.len();
    loop {
        let more = len > 127;
        out.push(u8::try_from(len % 128).unwrap() | if more { 0x80 } else { 0 });
        len /= 128;
        if !more {
            break;
        }
    }
    out.extend_from_slice(body);
    out
}

pub(crate) fn text(s: &str) -> Vec<u8> {
    let mut out = u16::try_from(s.len()).unwrap().to_be_bytes().to_vec();
    out.extend_from_slice(s.as_bytes());
    out
}

/// Takes the first packet off what was read, once it is whole: its first byte and its body.
pub(crate) fn split(buf: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let mut len = 0;
    for place in 1..buf.len().min(5) {
        let byte = buf[place];
        len |= usize::from(byte & 0x7f) << (7 * (place - 1));
        if byte & 0x80 == 0 {
            let end = place + 1 + len;
            if buf.len() < end {
                return None;
            }
            let packet: Vec<u8> = buf.drain(..end).collect();
            return Some((packet[0], packet[place + 1..].to_vec()));
        }
    }
    None
}
