//! HTTP, gRPC and the original's management routes.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as B64;
use prost::Message as _;
use w3bstream_endpoint_grpc::proto;
use w3bstream_endpoint_grpc::proto::submit_request::Message;

use super::Seeds;
use super::values::{envelope, jws, session};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn seeds(seeds: &mut Seeds) {
    http(seeds);
    grpc(seeds);
    legacy(seeds);
}

fn http(seeds: &mut Seeds) {
    let packed = format!(r#"{{"envelope":"{}"}}"#, B64.encode(envelope(3)));
    let lines = [
        jws(3),
        format!("{:?}", jws(4)),
        packed,
        r#"{"event_id":"e-1","type":"reading","time":1800000000000,"payload":{"celsius": 21.50}}"#.to_owned(),
        r#" {"event_id":"e-2","time":"7","payload_base64":"AAEC"}"#.to_owned(),
        r#"{"event_id":"e-3","payload":"t\u00e4xt"}"#.to_owned(),
    ];
    lines.iter().for_each(|line| seeds.put("http_line", line.as_str()));
    let batch = lines.join("\n");
    let few = format!("{}\r\n\n{}\n{}", lines[3], lines[5], "x".repeat(600));
    for (how, coded) in [
        (0, batch.clone().into_bytes()),
        (21, few.clone().into_bytes()),
        (4, gzip(few.as_bytes())),
        (8, zstd::bulk::compress(few.as_bytes(), 3).unwrap()),
    ] {
        seeds.with("http_batch", how, &coded);
    }
    let zeros = vec![b' '; 100_000];
    for plain in [batch.as_bytes(), b"", zeros.as_slice()] {
        seeds.with("http_coding", 20, &gzip(plain));
        seeds.with("http_coding", 21, &zstd::bulk::compress(plain, 3).unwrap());
    }
    seeds.with("http_coding", 0, &[gzip(b"one"), gzip(b"two")].concat());
    let trace = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    seeds.put(
        "http_head",
        format!("type=reading&time=7\nauthorization: Bearer token\nidempotency-key: e-1\n{trace}"),
    );
    seeds.put("http_head", format!("type=a%2db\ncontent-type: application/jose; x=y\ncontent-encoding: gzip\nauthorization: Bearer {}", session()));
    seeds.put("http_head", "https://app.example:8443\ncontent-type: application/vnd.w3bstream.envelope");
}

fn grpc(seeds: &mut Seeds) {
    let token = proto::TokenMessage {
        token: "token".into(),
        event_id: "e-1".into(),
        r#type: "reading".into(),
        time: 1_800_000_000_000,
        payload: b"21".to_vec(),
    };
    let mut framed = Vec::new();
    for message in [Message::Envelope(envelope(3)), Message::Jws(jws(3)), Message::Token(token)] {
        let request = proto::SubmitRequest { project: "kit".into(), message: Some(message) }.encode_to_vec();
        framed.push(0);
        framed.extend(u32::try_from(request.len()).unwrap().to_be_bytes());
        framed.extend(&request);
        seeds.put("grpc_message", request);
    }
    let watch =
        proto::WatchRequest { project: "kit".into(), until_final: true, ..proto::WatchRequest::default() };
    seeds.put("grpc_message", watch.encode_to_vec());
    seeds.with("grpc_framing", 6, &framed);
    seeds.with("grpc_framing", 0, &[0, 0, 0, 0, 2, 1, 2, 0, 0, 0, 0, 0]);
}

fn legacy(seeds: &mut Seeds) {
    let config = r#"{"name":"p","version":"0.1","envs":{"env":[["K","V"],["L","W"]]},"database":{"schemas":[{"tables":[
        {"name":"t","cols":[{"name":"a","constrains":{"datatype":"INT64"}}],"keys":[{"name":"k","columnNames":["a"]}]}]}]}}"#;
    seeds.texts(
        "legacy_body",
        &[
            r#"{"username":"admin","password":"secret","key":"k","name":"n"}"#,
            config,
            r#"{"env":[["K","V"]],"schemas":[],"signedKeys":["timestamp","a.b"]}"#,
            r#"{"eventType":"DEFAULT","handler":"start","appletID":"17","key":"k","name":"n"}"#,
            "w3s_1_1800000000001_00",
            "w3b_k7_00",
        ],
    );
    let form = "multipart/form-data; boundary=B\n--B\r\nContent-Disposition: form-data; name=\"info\"\r\n\r\n\
        {\"appletName\":\"a\",\"wasmName\":\"a.wasm\",\"start\":\"true\",\"strategies\":[{\"eventType\":\"DEFAULT\",\"handler\":\"start\"}]}\
        \r\n--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wasm\"\r\nContent-Type: application/wasm\r\n\r\n\
        \u{0}asm\u{1}\u{0}\u{0}\u{0}\r\n--B--\r\n";
    seeds.put("legacy_upload", form);
    seeds.put("legacy_upload", "multipart/form-data; boundary=\"x y\"\n--x y--\r\n");
}
