//! MQTT, WebSocket, CoAP.

use coap_lite::{CoapOption, MessageClass, MessageType, Packet, RequestType};

use super::Seeds;
use super::values::jws;

/// A packet of MQTT: its first byte, and what follows the length.
fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut out = vec![first];
    let mut left = body.len();
    loop {
        let more = if left > 127 { 0x80 } else { 0 };
        out.push(u8::try_from(left & 0x7f).unwrap() | more);
        left >>= 7;
        if left == 0 {
            break;
        }
    }
    out.extend(body);
    out
}

fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
}

/// CONNECT with everything in it, or with as little as can be.
fn connect(v5: bool, full: bool) -> Vec<u8> {
    let (level, flags) = (if v5 { 5 } else { 4 }, if full { 0b1110_1110 } else { 0b10 });
    let properties: &[u8] = match (v5, full) {
        (false, _) => &[],
        (true, false) => &[0],
        (true, true) => &[20, 0x11, 0, 0, 0, 60, 0x21, 0, 9, 0x27, 0, 0, 16, 0, 0x22, 0, 4, 0x19, 1, 0x17, 1],
    };
    let mut parts = [text("MQTT"), vec![level, flags, 0, 30], properties.to_vec(), text("pump-7")].concat();
    if full {
        if v5 {
            parts.extend([5, 0x18, 0, 0, 0, 3]);
        }
        parts.extend([text("open/will"), text("gone"), text("user"), text("password")].concat());
    }
    packet(0x10, &[&parts])
}

/// What a client sends once it is connected.
fn conversation(v5: bool) -> Vec<Vec<u8>> {
    let none: &[u8] = if v5 { &[0] } else { &[] };
    let message = jws(7);
    let properties: &[u8] = if v5 {
        &[20, 0x01, 1, 0x02, 0, 0, 0, 9, 0x23, 0, 1, 0x26, 0, 1, b'k', 0, 3, b'v', b'a', b'l', 0x08]
    } else {
        &[]
    };
    let mut all = vec![
        packet(0x82, &[&[0, 1], none, &text("open/#"), &[1], &text("$share/g/w3b/kit/ack/+"), &[2]]),
        packet(0x32, &[&text("w3b/kit/reading"), &[0, 2], none, message.as_bytes()]),
        packet(0x35, &[&text("open/a"), &[0, 3], none, b"kept"]),
        packet(0x30, &[&text("open/a"), none, b"x"]),
        packet(0x62, &[&[0, 3]]),
        packet(0x40, &[&[0, 1]]),
        packet(0xa2, &[&[0, 4], none, &text("open/#")]),
        packet(0xc0, &[]),
        packet(0xe0, &[]),
    ];
    if v5 {
        let [first, rest @ ..] = properties else { return all };
        let good = [&[first - 1], &rest[..rest.len() - 1]].concat();
        all.insert(4, packet(0x32, &[&text("open/b"), &[0, 5], &good, b"alias"]));
        all.insert(5, packet(0x32, &[&text(""), &[0, 6], &[3, 0x23, 0, 1], b"again"]));
    }
    all
}

/// A frame of WebSocket as a client sends it.
fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let masked = body.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m);
    let mut out = vec![first, 0x80 | u8::try_from(body.len()).unwrap()];
    out.extend(mask.iter().copied().chain(masked));
    out
}

pub(super) fn seeds(seeds: &mut Seeds) {
    for v5 in [false, true] {
        let how = u8::from(v5);
        for full in [false, true] {
            seeds.put("mqtt_connect", [connect(v5, full), packet(0xc0, &[])].concat());
            let behind = conversation(v5).concat();
            seeds.put("mqtt_connection", [&[0xff, 0x55], connect(v5, full).as_slice(), &behind].concat());
            seeds.put("mqtt_connection", [&[7, 0x13], connect(v5, full).as_slice(), &behind].concat());
        }
        for packet in conversation(v5) {
            seeds.with("mqtt_packet", how, &packet);
        }
        seeds.with("mqtt_packet", how, &conversation(v5).concat());
        brokers(seeds, how);
    }
    seeds.texts(
        "mqtt_topic",
        &[
            "w3b/+/ack/#\nw3b/kit/ack/did:key:z6\nw3b/kit/reading\n#\n+/+/+",
            "$SYS/#\n$SYS/broker/x\n+/broker/x\n#",
            "$share/g/a/#\n$share/g/\na//b\na/+/b\n/\n//",
        ],
    );
    let kept = packet(0x33, &[&text("open/a"), &[0, 1, 6, 0x26, 0, 1, b'k', 0, 0], b"kept"]);
    seeds.put("mqtt_kept", kept);
    seeds.put("mqtt_kept", packet(0x30, &[&text("w3b/kit/cmd/x"), &[3, 0x03, 0, 0], b"{}"]));
    web_socket(seeds);
    coap(seeds);
}

/// What a broker sends.
fn brokers(seeds: &mut Seeds, how: u8) {
    let none: &[u8] = if how == 1 { &[0] } else { &[] };
    let granted: &[u8] = if how == 1 { &[8, 0x21, 0, 9, 0x27, 0, 0, 16, 0] } else { &[] };
    let message = jws(8);
    for packet in [
        packet(0x20, &[&[1, 0], granted]),
        packet(0x90, &[&[0, 1], none, &[1, 2]]),
        packet(0x32, &[&text("w3b/kit/reading"), &[0, 2], none, message.as_bytes()]),
        packet(0x34, &[&text("x"), &[0, 3], none]),
        packet(0x62, &[&[0, 3]]),
        packet(0x40, &[&[0, 4]]),
        packet(0xd0, &[]),
        packet(0xe0, &[]),
    ] {
        seeds.with("broker_packet", how, &packet);
    }
}

fn web_socket(seeds: &mut Seeds) {
    let request = "GET /mqtt HTTP/1.1\r\nHost: node:9001\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
    seeds.with("websocket", 0, request.as_bytes());
    let ping = packet(0xc0, &[]);
    seeds.with("websocket", 0, &frame(0x82, &connect(false, false)));
    let parts =
        [frame(0x02, &ping), frame(0x89, b"hm"), frame(0x80, &ping), frame(0x88, &[3, 0xe8])].concat();
    seeds.with("websocket", 0x35, &parts);
    seeds.with("websocket", 3, &frame(0x81, b"text"));
}

fn coap(seeds: &mut Seeds) {
    let request = |method, path: &str, options: &[(u16, &[u8])], payload: &[u8]| {
        let mut packet = Packet::new();
        packet.header.code = MessageClass::Request(method);
        packet.header.set_version(1);
        packet.header.set_type(MessageType::Confirmable);
        packet.header.message_id = 0x1234;
        packet.set_token(vec![7, 8]);
        path.split('/')
            .for_each(|segment| packet.add_option(CoapOption::UriPath, segment.as_bytes().to_vec()));
        options
            .iter()
            .for_each(|(number, value)| packet.add_option(CoapOption::from(*number), value.to_vec()));
        packet.payload = payload.to_vec();
        packet.to_bytes().unwrap()
    };
    let message = jws(9);
    let event = request(RequestType::Post, "w3b/kit/reading", &[], message.as_bytes());
    let first = request(RequestType::Post, "w3b/kit/reading", &[(27, &[0x08]), (292, &[1])], &[b'x'; 16]);
    let last = request(RequestType::Post, "w3b/kit/reading", &[(27, &[0x10]), (292, &[1])], b"yz");
    let ask = request(RequestType::Get, &format!("w3b/message/{}", "0a".repeat(32)), &[(17, &[60])], b"");
    let core = request(RequestType::Get, ".well-known/core", &[(23, &[0x02])], b"");
    let all = [event, first, last, ask, core, vec![0x40, 0, 1, 2], vec![0x70, 0, 0x12, 0x34]];
    let mut exchange = Vec::new();
    for datagram in all {
        if let Ok(len) = u8::try_from(datagram.len()) {
            exchange.extend([0x10, len]);
            exchange.extend(&datagram);
            exchange.extend([0x0a, 200, 0x0c, 0, 0x0d, 100]);
        }
        seeds.put("coap_message", datagram);
    }
    seeds.put("coap_exchange", [exchange.as_slice(), &[0x0e, 255, 0x0f, 0]].concat());
    seeds.put("coap_exchange", [exchange.as_slice(), &exchange].concat());
}
