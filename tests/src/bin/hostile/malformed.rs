//! Phase 1: packets that MQTT forbids, over every carrier; then what HTTP, HTTP/2, gRPC, CoAP and JSON-RPC forbid; then mutations
//! of what they allow.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::time::timeout;

use crate::mqtt::{connect, connect_with, packet, publish, subscribe, take, text};
use crate::net::{CARRIERS, Carrier, Line, frame};
use crate::site::Site;
use crate::{Found, Plan, nonsense, web};

/// Longer than the node waits for a CONNECT.
const PATIENCE: Duration = Duration::from_secs(12);
/// Attacks at once.
const AT_ONCE: usize = 16;

/// What the node must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// End the connection, with or without a word.
    Close,
    /// Answer with a packet of this kind that refuses, or end the connection.
    Refuse(u8),
    /// Go on: the bytes are odd and allowed.
    Live,
}

/// One kind of bad bytes.
struct Case {
    name: &'static str,
    /// The version of a CONNECT that goes before; 0 for none.
    level: u8,
    bytes: Vec<u8>,
    expect: Expect,
}

fn case(name: &'static str, level: u8, bytes: Vec<u8>, expect: Expect) -> Case {
    Case { name, level, bytes, expect }
}

/// A will of MQTT 3.1.1.
fn will(topic: &[u8]) -> Vec<u8> {
    connect_with(4, 0x06, b"will", &[text(topic), text(b"x")].concat())
}

/// A CONNECT of MQTT 5 with these properties.
fn connect_properties(properties: &[u8]) -> Vec<u8> {
    let mut body = text(b"MQTT");
    body.extend([5, 2, 0, 60]);
    body.extend(properties);
    body.extend(text(b"properties"));
    packet(0x10, &body)
}

fn before_connect() -> Vec<Case> {
    use Expect::{Close, Refuse};
    let mut version = text(b"MQTT");
    version.extend([9, 2, 0, 60]);
    version.extend(text(b"x"));
    let mut name = text(b"MQTX");
    name.extend([4, 2, 0, 60]);
    name.extend(text(b"x"));
    let huge = [vec![0x30, 0xff, 0xff, 0xff, 0x7f], vec![b'x'; 1 << 20]].concat();
    vec![
        case("a large packet before CONNECT", 0, huge, Close),
        case("CONNACK instead of CONNECT", 0, vec![0x20, 2, 0, 0], Close),
        case("PUBLISH before CONNECT", 0, publish(4, "site/a", None, b"x"), Close),
        case("Remaining Length of five bytes", 0, vec![0x10, 0xff, 0xff, 0xff, 0xff, 0x01], Close),
        case("packet type 0", 0, vec![0, 0], Close),
        case("flags in CONNECT's first byte", 0, [vec![0x11], connect(4, "a").split_off(1)].concat(), Close),
        case("half a CONNECT and silence", 0, connect(5, "half").split_off(9), Close),
        case("empty client id, session kept", 0, connect_with(4, 0, b"", &[]), Refuse(0x20)),
        case("a client id with U+0000", 0, connect_with(4, 2, b"a\0b", &[]), Refuse(0x20)),
        case("a client id with a surrogate", 0, connect_with(4, 2, b"a\xed\xa0\x80", &[]), Refuse(0x20)),
        case("the reserved connect flag", 0, connect_with(4, 3, b"a", &[]), Refuse(0x20)),
        case("a password without a name", 0, connect_with(4, 0x42, b"a", &text(b"p")), Refuse(0x20)),
        case(
            "a will of QoS 3",
            0,
            connect_with(4, 0x1e, b"a", &[text(b"t"), text(b"x")].concat()),
            Refuse(0x20),
        ),
        case("a will topic with a wildcard", 0, will(b"site/#"), Refuse(0x20)),
        case("a will topic of nothing", 0, will(b""), Refuse(0x20)),
        case("a protocol level from the future", 0, packet(0x10, &version), Refuse(0x20)),
        case("another protocol's name", 0, packet(0x10, &name), Refuse(0x20)),
        case("properties beyond the packet", 0, connect_properties(&[0x7f, 0x21, 0, 1]), Refuse(0x20)),
        case("a property twice", 0, connect_properties(&[6, 0x21, 0, 1, 0x21, 0, 1]), Refuse(0x20)),
        case("Receive Maximum of nothing", 0, connect_properties(&[3, 0x21, 0, 0]), Refuse(0x20)),
        case("a property that there is not", 0, connect_properties(&[2, 0x7e, 0]), Refuse(0x20)),
        case("enhanced authentication", 0, connect_properties(&[4, 0x15, 0, 1, b'x']), Refuse(0x20)),
        case("HTTP on MQTT's port", 0, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), Close),
    ]
}

/// PUBLISH with properties, at QoS 0.
fn publish_properties(topic: &[u8], properties: &[u8]) -> Vec<u8> {
    packet(0x30, &[text(topic), properties.to_vec(), b"x".to_vec()].concat())
}

fn after_connect() -> Vec<Case> {
    use Expect::{Close, Live, Refuse};
    let levels = "a/".repeat(32_767);
    let bomb: Vec<String> = (0..8000).map(|n| format!("site/{n}")).collect();
    let bomb = || subscribe(5, 7, bomb.iter().map(String::as_str), 0);
    let many =
        (1..=2000).flat_map(|n: u16| subscribe(5, n, [format!("s/{n}")].iter().map(String::as_str), 0));
    let again = (0..200).flat_map(|_| publish(5, "site/x", Some((2, 9)), b"again"));
    let unreleased = (1..=2000).flat_map(|n| publish(5, "site/x", Some((2, n)), b"never released"));
    vec![
        case("PUBLISH to a topic of nothing, v4", 4, publish(4, "", None, b"x"), Close),
        case("PUBLISH to a topic of nothing, v5", 5, publish(5, "", None, b"x"), Close),
        case("CONNACK from a client", 5, vec![0x20, 3, 0, 0, 0], Close),
        case("a second CONNECT", 5, connect(5, "twice"), Close),
        case("QoS 3", 4, packet(0x36, &[text(b"site/a"), vec![0, 1, b'x']].concat()), Close),
        case("packet id 0", 5, publish(5, "site/a", Some((1, 0)), b"x"), Close),
        case("a topic with U+0000", 4, publish(4, "site/\0", None, b"x"), Close),
        case(
            "a topic with a surrogate",
            4,
            packet(0x30, &[text(b"site/\xed\xa0\x80"), vec![b'x']].concat()),
            Close,
        ),
        case("PUBLISH to a wildcard", 5, publish(5, "site/#", None, b"x"), Close),
        case("a topic longer than its packet", 5, vec![0x30, 4, 0xff, 0xff, b'a', b'b'], Close),
        case("properties beyond PUBLISH", 5, publish_properties(b"site/a", &[0x7f, 1, 1]), Close),
        case("a PUBLISH property twice", 5, publish_properties(b"site/a", &[4, 1, 0, 1, 0]), Close),
        case("an alias of 0", 5, publish_properties(b"site/a", &[3, 0x23, 0, 0]), Close),
        case("an alias beyond the maximum", 5, publish_properties(b"site/a", &[3, 0x23, 0xff, 0xff]), Close),
        case("an alias that stands for nothing", 5, publish_properties(b"", &[3, 0x23, 0, 1]), Close),
        case("65,535 levels", 5, publish(5, &levels, Some((1, 1)), b"x"), Refuse(0x40)),
        case("a filter of 65,535 levels", 5, subscribe(5, 1, [levels.as_str()].into_iter(), 0), Refuse(0x90)),
        case("a # in the middle", 5, subscribe(5, 1, ["site/#/a"].into_iter(), 0), Refuse(0x90)),
        case("a # in the middle, v4", 4, subscribe(4, 1, ["site/#/a"].into_iter(), 0), Refuse(0x90)),
        case("SUBSCRIBE to nothing", 5, packet(0x82, &[0, 1, 0]), Close),
        case(
            "SUBSCRIBE without its flags",
            5,
            [vec![0x80], subscribe(5, 1, ["a"].into_iter(), 0).split_off(1)].concat(),
            Close,
        ),
        case("8,000 filters in one packet", 5, bomb(), Refuse(0x90)),
        case("2,000 subscriptions", 5, many.collect(), Refuse(0x90)),
        case("a packet id again without PUBREL", 5, again.collect(), Live),
        case("2,000 messages that are never released", 5, unreleased.collect(), Close),
        case("PUBREL for nothing", 5, vec![0x62, 2, 0, 77], Live),
        case("PUBACK for nothing", 5, vec![0x40, 2, 0, 77], Live),
        case("PINGREQ with a body", 5, vec![0xc0, 1, 0], Close),
        case("AUTH out of nowhere", 5, vec![0xf0, 2, 0x18, 0], Close),
        case("a packet larger than allowed", 5, vec![0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, b'a'], Close),
        case("half a packet and silence is cut later", 5, vec![0x30, 100, 0, 6, b's'], Live),
    ]
}

/// Sends one and says what was wrong with the answer.
async fn attack(site: &Site, case: &Case, (carrier, n): (Carrier, usize)) -> Option<String> {
    let what = |why: String| Some(format!("{} over {carrier:?}: {why}", case.name));
    let mut line = match site.line(carrier, n).await {
        Ok(line) => line,
        Err(e) => return what(format!("cannot connect: {e:#}")),
    };
    if case.level > 0 {
        let name = format!("bad-{carrier:?}-{n}");
        if let Err(e) = granted(&mut line, case.level, &name).await {
            return what(e.to_string());
        }
    }
    // The node may close while it is still being sent to.
    let _ = line.send(&case.bytes).await;
    if case.expect == Expect::Live && case.name.starts_with("half") {
        return None;
    }
    if case.expect == Expect::Live {
        let _ = line.send(&[0xc0, 0]).await;
    }
    let judged = timeout(PATIENCE, judge(&mut line, case)).await;
    match judged {
        Ok(None) => None,
        Ok(Some(why)) => what(why),
        Err(_) => what(format!("neither answered nor closed within {PATIENCE:?}")),
    }
}

async fn granted(line: &mut Line, level: u8, name: &str) -> anyhow::Result<()> {
    line.send(&connect(level, name)).await?;
    let mut buffer = Vec::new();
    loop {
        let more = timeout(PATIENCE, line.read()).await??;
        anyhow::ensure!(!more.is_empty(), "not granted");
        buffer.extend(more);
        if let Some((first, body)) = take(&mut buffer) {
            anyhow::ensure!(first == 0x20 && body.get(1) == Some(&0), "not granted: {body:?}");
            return Ok(());
        }
    }
}

/// Reads answers until they decide.
async fn judge(line: &mut Line, case: &Case) -> Option<String> {
    let mut buffer = Vec::new();
    loop {
        let more = line.read().await.unwrap_or_default();
        if more.is_empty() {
            let fine = case.expect != Expect::Live;
            return (!fine).then(|| "closed, though it is allowed".to_owned());
        }
        buffer.extend(more);
        while let Some((first, body)) = take(&mut buffer) {
            match (case.expect, first) {
                (Expect::Live, 0xd0) => return None,
                (Expect::Refuse(kind), first) if first == kind && refuses(first, &body, case.level) => {
                    return None;
                }
                // A CONNACK that grants.
                (_, 0x20) if body.get(1) == Some(&0) => return Some("granted".to_owned()),
                _ => {}
            }
        }
    }
}

/// Whether an answer refuses.
fn refuses(first: u8, body: &[u8], level: u8) -> bool {
    match first {
        0x20 => body.get(1).is_some_and(|code| *code != 0),
        0x40 => body.get(2).is_some_and(|code| *code >= 0x80),
        // All filters, or all but as many as a session may have.
        _ => {
            body.get(if level == 5 { 3.. } else { 2.. }).is_some_and(|codes| codes.iter().any(|c| *c >= 0x80))
        }
    }
}

/// A packet that says more than the WebSocket frame has that brings it, and frames that the protocol forbids.
async fn web_socket_frames(site: &Site, n: usize) -> Vec<String> {
    let connect = connect(5, "short-frame");
    let cut = connect.get(..connect.len() / 2).unwrap_or_default();
    let unmasked = [vec![0x82, u8::try_from(connect.len()).unwrap_or(0)], connect.clone()].concat();
    let frames: [(&str, Vec<u8>); 6] = [
        ("a frame shorter than its packet", frame(cut)),
        ("a text frame", [vec![0x81], frame(&connect).split_off(1)].concat()),
        ("a frame without a mask", unmasked),
        ("reserved bits", [vec![0xf2], frame(&connect).split_off(1)].concat()),
        (
            "a frame of 2^63 bytes",
            vec![0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
        ),
        ("a ping of 200 bytes", [vec![0x89], frame(&[0; 200]).split_off(1)].concat()),
    ];
    let mut wrong = Vec::new();
    for (name, bytes) in frames {
        let attack = async {
            let mut line = site.line(Carrier::Ws, n).await?;
            line.send_raw(&bytes).await?;
            while !line.read().await.unwrap_or_default().is_empty() {}
            anyhow::Ok(())
        };
        match timeout(PATIENCE, attack).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => wrong.push(format!("{name}: {e}")),
            Err(_) => wrong.push(format!("{name}: not closed within {PATIENCE:?}")),
        }
    }
    wrong
}

pub(crate) async fn run(site: &Arc<Site>, plan: &Plan) -> anyhow::Result<Found> {
    let mut found = Found::default();
    let cases: Vec<Case> = before_connect().into_iter().chain(after_connect()).collect();
    let each = cases.iter().flat_map(|case| CARRIERS.map(|carrier| (case, carrier)));
    let attacks = each.enumerate().map(|(n, (case, carrier))| attack(site, case, (carrier, n)));
    let wrong: Vec<Option<String>> = stream::iter(attacks).buffer_unordered(AT_ONCE).collect().await;
    found.note(format!("{} malformed MQTT packets over {} carriers", cases.len(), CARRIERS.len()));
    found.missed.extend(wrong.into_iter().flatten());
    found.missed.extend(web_socket_frames(site, 1).await);
    site.check()?;
    web::run(site, &mut found).await?;
    site.check()?;
    nonsense::run(site, plan.nonsense, &mut found).await;
    Ok(found)
}
