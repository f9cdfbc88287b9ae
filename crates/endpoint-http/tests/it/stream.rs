//! Live changes.

use std::time::Duration;

use w3bstream_endpoint::{Endpoint as _, Feed, LiveChange};
use w3bstream_endpoint_http::{HttpConfig, HttpLimits, Readers, Reading};
use w3bstream_types::{Digest, MessageId, MessageState, StateChange, Timestamp};

use crate::harness::*;

fn change(n: u64, state: MessageState) -> LiveChange {
    LiveChange {
        project: "kit".parse().unwrap(),
        id: MessageId(Digest::of(&n.to_be_bytes())),
        source: format!("publisher:p{}", n % 2),
        event_type: if n.is_multiple_of(3) { "door" } else { "reading" }.parse().unwrap(),
        change: StateChange { state, time: Timestamp(n), reason: "line\nend".into() },
    }
}

fn stored(n: u64) -> LiveChange {
    change(n, MessageState::Stored)
}

fn start_feed(limits: HttpLimits, capacity: usize) -> (Server, Feed) {
    let feed = Feed::new(capacity);
    (start_with(HttpConfig { limits, feed: feed.clone(), ..local() }), feed)
}

async fn listen(server: &Server, path: &str) -> Client {
    let mut client = server.client().await;
    client.send(&get(path)).await;
    let head = client.head().await.unwrap();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")), "{head:?}");
    assert_eq!(head.header("cache-control"), Some("no-store"));
    assert!(client.until("\n\n").await.starts_with("retry: 3000\n: "));
    client
}

#[tokio::test]
async fn changes_are_told_as_they_happen_and_silence_is_filled() {
    let (server, feed) = start_feed(quick(), 64);
    let mut client = listen(&server, EVENTS).await;
    feed.tell(|| stored(7));
    let text = client.until("\n\n").await;
    let data = text.strip_prefix("event: change\ndata: ").unwrap().strip_suffix("\n\n").unwrap();
    let id = stored(7).id;
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(data).unwrap(),
        serde_json::json!({"project": "kit", "id": id, "source": "publisher:p1", "type": "reading",
            "state": "stored", "time": "7", "reason": "line\nend"})
    );
    assert_eq!(client.until("\n\n").await, ": still here\n\n");
    feed.tell(|| LiveChange { project: "other".parse().unwrap(), ..stored(8) });
    assert_eq!(client.until("\n\n").await, ": still here\n\n");
    assert!(server.metric("w3bstream_http_event_streams 1").await);
    drop(client);
    tokio::time::timeout(PATIENCE, async {
        while feed.listeners() > 0 {
            tokio::task::yield_now().await
        }
    })
    .await
    .expect("who has gone listens no more");
}

#[tokio::test]
async fn filters_filter() {
    let (server, feed) = start_feed(quick(), 64);
    let id = stored(4).id;
    let paths = [
        format!("{EVENTS}?source=publisher:p1"),
        format!("{EVENTS}?type=door"),
        format!("{EVENTS}?id={id}"),
        format!("{EVENTS}?state=executed,attested"),
        format!("{EVENTS}?source=publisher%3Ap0&type=door&state=stored"),
    ];
    let mut clients = Vec::new();
    for path in &paths {
        clients.push(listen(&server, path).await);
    }
    for n in 1..=6 {
        feed.tell(|| if n == 5 { change(n, MessageState::Executed) } else { stored(n) });
    }
    feed.close();
    for ((client, path), wanted) in
        clients.iter_mut().zip(&paths).zip([vec![1, 3, 5], vec![3, 6], vec![4], vec![5], vec![6]])
    {
        let mut text = String::new();
        while let Some(chunk) = client.chunk().await {
            text.push_str(&String::from_utf8(chunk).unwrap());
        }
        let got: Vec<u64> = text
            .lines()
            .filter_map(|l| l.strip_prefix("data: "))
            .map(|d| {
                serde_json::from_str::<serde_json::Value>(d).unwrap()["time"]
                    .as_str()
                    .unwrap()
                    .parse()
                    .unwrap()
            })
            .collect();
        assert_eq!(got, wanted, "{path}");
    }
    for bad in ["state=", "state=stored,", "state=gone", "id=x", "type=A", "since=1", "type=a&type=b"] {
        server.ask(&get(&format!("{EVENTS}?{bad}"))).await.expect_problem(400, "malformed");
    }
    server.ask(&get("/v1/projects/No/events")).await.expect_problem(404, "unknown-project");
}

#[tokio::test]
async fn who_is_slow_holds_nothing_and_is_told_what_it_missed() {
    let mut limits = quick();
    limits.write_timeout = Duration::from_secs(30);
    let (server, feed) = start_feed(limits, 100);
    let mut slow = listen(&server, EVENTS).await;
    let mut told = 0;
    // More than the sockets' buffers hold; nobody reads meanwhile.
    for _ in 0..2000 {
        for _ in 0..50 {
            told += 1;
            feed.tell(|| LiveChange { source: "x".repeat(500), ..stored(told) });
        }
        tokio::task::yield_now().await;
    }
    feed.tell(|| stored(u64::MAX));
    let mut heard = 0;
    let mut missed = 0_u64;
    let mut text = String::new();
    while !text.contains(&u64::MAX.to_string()) {
        text = slow.until("\n\n").await;
        for data in text.lines().filter_map(|l| l.strip_prefix("data: ")) {
            match serde_json::from_str::<serde_json::Value>(data).unwrap()["count"].as_str() {
                Some(count) => missed += count.parse::<u64>().unwrap(),
                None => heard += 1,
            }
        }
    }
    assert_eq!(heard + missed, told + 1);
    assert!(missed > 0, "{heard} fit into the sockets");
    assert!(server.metric(&format!("w3bstream_http_changes_missed_total {missed}")).await);
}

#[tokio::test]
async fn who_does_not_read_at_all_is_cut_off() {
    let (server, feed) = start_feed(quick(), 100);
    let client = listen(&server, EVENTS).await;
    tokio::time::timeout(PATIENCE, async {
        while feed.listeners() > 0 {
            for n in 0..100 {
                feed.tell(|| LiveChange { source: "x".repeat(2000), ..stored(n) });
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("its place is free again");
    drop(client);
    assert!(server.metric("w3bstream_http_connections_cut_total{deadline=\"write\"} 1").await);
}

#[tokio::test]
async fn a_thousand_listen_and_no_more_than_allowed() {
    let mut limits = quick();
    limits.max_connections_per_address = 2000;
    limits.max_event_streams = 1000;
    limits.max_event_streams_per_address = 1000;
    limits.event_keep_alive = Duration::from_secs(60);
    let (server, feed) = start_feed(limits, 64);
    let mut clients = Vec::new();
    for _ in 0..1000 {
        clients.push(listen(&server, EVENTS).await);
    }
    let refused = server.ask(&get(EVENTS)).await;
    refused.expect_problem(503, "overloaded");
    assert!(server.metric("w3bstream_http_event_streams 1000").await);
    feed.tell(|| stored(42));
    for client in &mut clients {
        assert!(client.until("\n\n").await.contains("\"time\":\"42\""));
    }
    // All end when the node does, well before anybody loses patience.
    let start = std::time::Instant::now();
    server.endpoint.close().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    for client in &mut clients {
        client.until("the node is stopping").await;
        assert!(client.chunk().await.is_none());
    }
    assert_eq!(feed.listeners(), 0);
}

#[tokio::test]
async fn streams_of_one_address_are_capped_and_readers_are_judged() {
    let mut limits = quick();
    limits.max_event_streams_per_address = 1;
    let readers = Readers::new(|project, token| {
        let allowed = project.as_str() == "kit" && token == Some("good");
        if allowed { Reading::Allowed } else { Reading::Denied }
    });
    let server = start_with(HttpConfig { limits, readers, ..local() });
    server.ask(&get(EVENTS)).await.expect_problem(401, "bad-token");
    let ask = |path: &str, token: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: t\r\nauthorization: {token}\r\n\r\n").into_bytes()
    };
    server.ask(&ask(EVENTS, "Basic good")).await.expect_problem(401, "bad-token");
    server.ask(&ask(EVENTS, "Bearer bad")).await.expect_problem(403, "not-allowed");
    server.ask(&ask("/v1/projects/other/events", "Bearer good")).await.expect_problem(403, "not-allowed");
    let mut good = server.client().await;
    good.send(&ask(EVENTS, "Bearer good")).await;
    assert_eq!(good.head().await.unwrap().status, 200);
    server.ask(&ask(EVENTS, "Bearer good")).await.expect_problem(503, "overloaded");
}
