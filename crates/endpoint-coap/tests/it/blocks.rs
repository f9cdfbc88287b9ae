//! Messages that come in blocks.

use coap_lite::{MessageType, Packet, RequestType};
use w3bstream_endpoint::Endpoint as _;
use w3bstream_endpoint_coap::CoapConfig;

use crate::support::{
    Client, PATH, Reply, accepted, answer, bind, block_on, body, bytes, config, idle, message, next, request,
    with,
};

/// Block `number` of `body`, 64 bytes each.
fn block(body: &[u8], number: usize) -> Packet {
    let part = &body[number * 64..body.len().min(number * 64 + 64)];
    let more = number * 64 + 64 < body.len();
    let value = u32::try_from(number).unwrap() << 4 | u32::from(more) << 3 | 2;
    let value: Vec<u8> = value.to_be_bytes().into_iter().skip_while(|b| *b == 0).collect();
    with(request(RequestType::Post, PATH, part), 27, &value)
}

async fn send(client: &Client, body: &[u8], numbers: impl IntoIterator<Item = usize>) -> Vec<Reply> {
    let mut replies = Vec::new();
    for number in numbers {
        replies.push(client.ask(block(body, number), u16::try_from(number).unwrap()).await);
    }
    replies
}

#[test]
fn a_message_in_blocks_is_one_arrival() {
    block_on(async {
        let endpoint = bind(config()).await;
        let client = Client::connect(endpoint.local_addr()).await;
        let sent = message(1);
        let last = sent.len().div_ceil(64) - 1;
        for (number, reply) in send(&client, &sent, 0..last).await.iter().enumerate() {
            assert_eq!(reply.code, "2.31");
            let value = u8::try_from(number << 4).unwrap() | 0b1010;
            assert_eq!(reply.option(27), Some(vec![value]), "it says which block");
            assert!(reply.bytes < 20);
        }
        assert!(idle(&endpoint).await, "the last is missing");
        client.send(&bytes(block(&sent, last), MessageType::Confirmable, 99)).await;
        let arrival = next(&endpoint).await;
        assert_eq!(body(&arrival.received), sent);
        answer(arrival, accepted);
        let reply = client.read().await;
        assert_eq!(reply.code, "2.04");
        assert_eq!(
            reply.json()["mode"],
            "durable",
            "small as the last block was, there is room for all of the answer"
        );
        assert_eq!(reply.option(27).unwrap()[0] & 8, 0);
        assert_eq!(endpoint.metrics().uploads_now, 0);
    });
}

#[test]
fn a_missing_block_and_a_large_message_are_told() {
    block_on(async {
        let endpoint = bind(CoapConfig { max_message_bytes: 1024, ..config() }).await;
        let client = Client::connect(endpoint.local_addr()).await;
        let large = vec![b'x'; 1100];
        let replies = send(&client, &large, [0, 2]).await;
        assert_eq!(replies[1].code, "4.08");
        // Of another device, since the first would repeat itself.
        let client = Client::connect(endpoint.local_addr()).await;
        let replies = send(&client, &large, 0..17).await;
        assert!(replies[..16].iter().all(|r| r.code == "2.31"));
        assert_eq!(replies[16].code, "4.13");
        assert_eq!(replies[16].option(60), Some(vec![4, 0]), "Size1 says what is taken");
        // By its own word, at once.
        let said = with(block(&large, 0), 60, &[4, 1]);
        assert_eq!(client.ask(said, 100).await.code, "4.13");
        let short = with(request(RequestType::Post, PATH, b"short"), 27, &[0b1010]);
        assert_eq!(client.ask(short, 101).await.code, "4.00");
        assert!(idle(&endpoint).await);
    });
}

#[test]
fn a_datagram_that_is_too_large_is_told_the_size_of_a_block() {
    block_on(async {
        let endpoint = bind(config()).await;
        let client = Client::connect(endpoint.local_addr()).await;
        let reply = client.ask(request(RequestType::Post, PATH, &[b'x'; 3000]), 1).await;
        assert_eq!((reply.code.as_str(), reply.option(27)), ("4.13", Some(vec![6])), "blocks of 1024 bytes");
        let fits = CoapConfig { max_datagram_bytes: 4000, ..config() };
        let roomy = bind(fits).await;
        let client = Client::connect(roomy.local_addr()).await;
        let reply = client.ask(request(RequestType::Post, PATH, &[b'x'; 3000]), 1).await;
        assert_eq!(reply.code, "4.00", "now it is read, and no message");
    });
}

#[test]
fn uploads_of_one_device_are_bounded() {
    block_on(async {
        let endpoint = bind(CoapConfig { max_uploads_per_source: 2, ..config() }).await;
        let client = Client::connect(endpoint.local_addr()).await;
        let large = vec![b'x'; 200];
        let mut codes = Vec::new();
        for tag in 0..3 {
            codes.push(client.ask(with(block(&large, 0), 292, &[tag]), u16::from(tag)).await.code);
        }
        assert_eq!(codes, ["2.31", "2.31", "5.03"]);
        let other = Client::connect(endpoint.local_addr()).await;
        assert_eq!(other.ask(block(&large, 0), 1).await.code, "2.31", "others are not in the way");
        endpoint.stop_intake().await;
        let reply = client.ask(block(&large, 1), 50).await;
        assert_eq!((reply.code.as_str(), reply.json()["code"].as_str()), ("5.03", Some("shutting-down")));
    });
}
