//! Web pages, compression, idempotency keys, traces.

use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::get as on_get;
use w3bstream_endpoint_http::{HttpConfig, HttpLimits};
use w3bstream_types::{Refusal, RefusalKind};

use crate::harness::*;

const JOSE: &str = "content-type: application/jose";

fn ask(method: &str, path: &str, headers: &[&str]) -> Vec<u8> {
    let headers: String = headers.iter().map(|h| format!("{h}\r\n")).collect();
    format!("{method} {path} HTTP/1.1\r\nhost: t\r\n{headers}\r\n").into_bytes()
}

#[tokio::test]
async fn pages_of_other_origins_are_off_by_default() {
    let server = start(quick());
    let origin = "origin: https://app.example";
    let reply = server.ask(&ask("OPTIONS", EVENTS, &[origin, "access-control-request-method: POST"])).await;
    reply.expect_problem(405, "method-not-allowed");
    let reply = server.ask(&ask("GET", "/openapi.json", &[origin])).await;
    assert!(reply.headers.iter().all(|(n, _)| !n.starts_with("access-control")), "{reply:?}");
}

#[tokio::test]
async fn listed_origins_are_let_in_each_by_its_name() {
    let extra = Router::new().route("/status", on_get(|| async { "for operators" }));
    let cors = vec!["https://app.example".parse().unwrap(), "http://localhost:3000".parse().unwrap()];
    let server =
        start_with(HttpConfig { limits: quick(), cors, extra: Some(extra), ..local() }).answering(accept);
    for origin in ["https://app.example", "http://localhost:3000"] {
        let header = format!("origin: {origin}");
        let preflight = ask("OPTIONS", EVENTS, &[&header, "access-control-request-method: POST"]);
        let reply = server.ask(&preflight).await;
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (204, Some(origin)));
        assert!(reply.header("access-control-allow-headers").unwrap().contains("idempotency-key"));
        assert!(reply.header("access-control-allow-methods").unwrap().contains("POST"));
        assert_eq!(reply.header("access-control-max-age"), Some("600"));
        let reply = server.ask(&post(EVENTS, &[BEARER, "idempotency-key: 1", &header], b"x")).await;
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (201, Some(origin)));
        assert!(reply.header("access-control-expose-headers").unwrap().contains("location"));
        assert_eq!(reply.header("access-control-allow-credentials"), None);
        assert_eq!(reply.header("vary"), Some("origin"));
        // A page can read why it was refused.
        let reply = server.ask(&post(EVENTS, &[&header], b"x")).await;
        reply.expect_problem(401, "bad-token");
        assert_eq!(reply.header("access-control-allow-origin"), Some(origin));
    }
    for origin in [
        "https://evil.example",
        "https://app.example.evil",
        "http://app.example",
        "null",
        "*",
        "https://app.example:443",
    ] {
        let header = format!("origin: {origin}");
        let reply =
            server.ask(&ask("OPTIONS", EVENTS, &[&header, "access-control-request-method: POST"])).await;
        reply.expect_problem(405, "method-not-allowed");
        assert_eq!(
            (reply.header("access-control-allow-origin"), reply.header("vary")),
            (None, Some("origin")),
            "{origin}"
        );
    }
    // Neither what is mounted beside, nor what is for operators.
    for path in ["/status", "/metrics", "/readyz", "/nothing"] {
        let reply = server.ask(&ask("GET", path, &["origin: https://app.example"])).await;
        assert_eq!(reply.header("access-control-allow-origin"), None, "{path}");
    }
}

#[tokio::test]
async fn answers_are_compressed_when_asked_and_when_it_is_of_use() {
    let extra = Router::new()
        .route("/page", on_get(|| async { "abc ".repeat(1000) }))
        .route("/bytes", on_get(|| async { vec![0_u8; 5000] }));
    let server = start_with(HttpConfig { limits: quick(), extra: Some(extra), ..local() });
    let plain = server.ask(&get("/openapi.json")).await;
    assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some("accept-encoding")));
    let gzip = server.ask(&ask("GET", "/openapi.json", &["accept-encoding: gzip"])).await;
    assert_eq!(gzip.header("content-encoding"), Some("gzip"));
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(&gzip.body[..]).read_to_end(&mut text).unwrap();
    assert_eq!(text, plain.body);
    assert!(gzip.body.len() * 3 < plain.body.len());
    let zstd = server.ask(&ask("GET", "/openapi.json", &["accept-encoding: gzip, zstd"])).await;
    assert_eq!(zstd.header("content-encoding"), Some("zstd"));
    assert_eq!(zstd::bulk::decompress(&zstd.body, 1 << 20).unwrap(), plain.body);
    let page = server.ask(&ask("GET", "/page", &["accept-encoding: gzip"])).await;
    assert_eq!(page.header("content-encoding"), Some("gzip"));
    // Small, binary, or a stream.
    for path in ["/livez", "/bytes", "/v1/messages/x"] {
        let reply = server.ask(&ask("GET", path, &["accept-encoding: gzip, zstd"])).await;
        assert_eq!(reply.header("content-encoding"), None, "{path}");
    }
    let mut client = server.client().await;
    client.send(&ask("GET", EVENTS, &["accept-encoding: gzip, zstd"])).await;
    assert_eq!(client.head().await.unwrap().header("content-encoding"), None);
}

#[tokio::test]
async fn compressed_bodies_are_taken_and_bombs_are_not() {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&kept);
    let server = start(quick()).answering(move |received| {
        keep.lock().unwrap().push(received.clone());
        accept(received)
    });
    let send = |id: &str, coding: &str, body: &[u8]| {
        let (id, coding) = (format!("idempotency-key: {id}"), format!("content-encoding: {coding}"));
        post(EVENTS, &[BEARER, &id, &coding], body)
    };
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let most = quick().max_body_bytes;
    let mixed: Vec<u8> = (0..most).map(|i| u8::try_from(i * i % 251).unwrap()).collect();
    assert_eq!(server.ask(&send("1", "gzip", &gzip(&mixed))).await.status, 201);
    assert_eq!(server.ask(&send("2", "ZSTD", &zstd::bulk::compress(&mixed, 3).unwrap())).await.status, 201);
    assert_eq!(server.ask(&send("3", "identity", b"x")).await.status, 201);
    let jws = jws(b"x");
    let signed = post(EVENTS, &[JOSE, "content-encoding: gzip"], &gzip(jws.as_bytes()));
    assert_eq!(server.ask(&signed).await.status, 201);
    {
        let kept = kept.lock().unwrap();
        let w3bstream_types::Submission::Token { payload, .. } = &kept[1].submission else { panic!() };
        assert_eq!(*payload, mixed);
    }
    // One byte more than allowed, a lot more, and much more than was sent.
    let over: Vec<u8> = [&mixed[..], b"x"].concat();
    for bomb in [over, vec![0; 100 << 20]] {
        server.ask(&send("4", "gzip", &gzip(&bomb))).await.expect_problem(413, "too-large");
        let zstd = zstd::bulk::compress(&bomb, 3).unwrap();
        server.ask(&send("4", "zstd", &zstd)).await.expect_problem(413, "too-large");
    }
    for (coding, body) in [("gzip", &b"no gzip"[..]), ("zstd", b"no zstd"), ("gzip", b"")] {
        server.ask(&send("5", coding, body)).await.expect_problem(400, "malformed");
    }
    for coding in ["br", "gzip, gzip", "deflate", ""] {
        let reply = server.ask(&send("5", coding, b"x")).await;
        reply.expect_problem(415, "unsupported-media-type");
        assert_eq!(reply.header("accept-encoding"), Some("gzip, zstd"));
    }
    assert_eq!(kept.lock().unwrap().len(), 4);
    assert!(server.metric("w3bstream_http_buffered_bytes 0").await);
}

#[tokio::test]
async fn the_ratio_has_a_limit_of_its_own() {
    let limits = HttpLimits {
        max_body_bytes: 4 << 20,
        batch_line_bytes: 4 << 20,
        max_compression_ratio: 10,
        ..quick()
    };
    let server = start(limits).answering(accept);
    let bomb = zstd::bulk::compress(&vec![0; 1 << 20], 3).unwrap();
    let reply =
        server.ask(&post(EVENTS, &[BEARER, "idempotency-key: 1", "content-encoding: zstd"], &bomb)).await;
    reply.expect_problem(413, "too-large");
    assert!(reply.text().contains("10 times"), "{}", reply.text());
}

#[tokio::test]
async fn one_key_stands_for_one_signed_message() {
    let refuse = Arc::new(Mutex::new(false));
    let refusing = Arc::clone(&refuse);
    let server = start(quick()).answering(move |received| {
        if *refusing.lock().unwrap() {
            return Err(Refusal::new(RefusalKind::BadSignature, "forged"));
        }
        accept(received)
    });
    let send = |key: &str, payload: &[u8]| {
        post(EVENTS, &[JOSE, &format!("idempotency-key: {key}")], jws(payload).as_bytes())
    };
    // What was not accepted takes no key away from who does send.
    *refuse.lock().unwrap() = true;
    server.ask(&send("k", b"forged")).await.expect_problem(403, "bad-signature");
    *refuse.lock().unwrap() = false;
    assert_eq!(server.ask(&send("k", b"one")).await.status, 201);
    assert_eq!(server.ask(&send("k", b"one")).await.status, 201, "a repeat is a repeat");
    server.ask(&send("k", b"two")).await.expect_problem(422, "key-reused");
    assert_eq!(server.ask(&send("l", b"two")).await.status, 201);
    assert_eq!(server.ask(&post(EVENTS, &[JOSE], jws(b"three").as_bytes())).await.status, 201);
    server.ask(&send("a b", b"four")).await.expect_problem(400, "malformed");
    assert!(server.metric("w3bstream_http_problems_total{code=\"key-reused\"} 1").await);
}

mod spans {
    //! Keeps the fields of spans.

    use std::fmt::{Debug, Write as _};
    use std::sync::{Arc, Mutex};

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    #[derive(Clone, Default)]
    pub struct Spans(pub Arc<Mutex<String>>);

    impl Visit for Spans {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            let _ = writeln!(self.0.lock().unwrap(), "{}={value:?}", field.name());
        }
    }

    impl Subscriber for Spans {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.is_span()
        }
        fn new_span(&self, span: &Attributes<'_>) -> Id {
            span.record(&mut self.clone());
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, _: &Event<'_>) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }
}

#[tokio::test]
async fn traces_are_followed_into_the_log_and_answered() {
    let spans = spans::Spans::default();
    let _guard = tracing::subscriber::set_default(spans.clone());
    let server = start(quick()).answering(accept);
    // Another test's thread may just be finding out that it wants no spans, which counts for all threads. From the second
    // request on all is known.
    server.ask(&post(EVENTS, &[BEARER, "idempotency-key: 0"], b"x")).await;
    tracing::callsite::rebuild_interest_cache();
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("traceparent: 00-{id}-00f067aa0ba902b7-01");
    let reply = server.ask(&post(EVENTS, &[BEARER, "idempotency-key: 1", &parent], b"x")).await;
    let answered = reply.header("traceresponse").unwrap();
    assert!(answered.starts_with(&format!("00-{id}-")) && answered.ends_with("-01"), "{answered}");
    assert!(!answered.contains("00f067aa0ba902b7"), "our own part has its own id");
    let log = spans.0.lock().unwrap().clone();
    assert!(
        log.contains(&format!("trace_id={id}")) && log.contains("route=\"/v1/projects/{project}/events\""),
        "{log}"
    );
    let long = format!("traceparent: 00-{id}-00f067aa0ba902b7-01-{}", "a".repeat(5000));
    for bad in ["traceparent: 00-x", &long, "traceparent:", "x: y"] {
        let reply = server.ask(&ask("GET", "/nothing", &[bad])).await;
        let made = reply.header("traceresponse").unwrap();
        assert!(made.len() == 55 && !made.contains(id), "{bad}: {made}");
    }
}
