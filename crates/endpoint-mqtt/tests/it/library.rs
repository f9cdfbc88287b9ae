//! A client library of others as the device: rumqttc, 3.1.1 and 5.

use std::sync::Arc;
use std::time::Duration;

use w3bstream_endpoint::{Endpoint, Publication, Publisher};
use w3bstream_endpoint_mqtt::MqttEndpoint;
use w3bstream_types::RefusalKind;

use crate::support::{TOPIC, accepted, answer, bind, block_on, bodies, config, device, refused};

/// Accepts, but refuses the message that comes as number `transient` once for now, and number `permanent` for ever.
async fn moody(endpoint: Arc<MqttEndpoint>, transient: usize, permanent: usize) -> usize {
    let mut count = 0;
    while let Some(arrival) = endpoint.next().await {
        match count {
            n if n == transient => answer(arrival, |_| refused(RefusalKind::StorageFailing)),
            n if n == permanent => answer(arrival, |_| refused(RefusalKind::TooLarge)),
            _ => answer(arrival, accepted),
        }
        count += 1;
    }
    count
}

#[test]
fn a_3_1_1_client_gets_everything_through() {
    use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
    block_on(async {
        let endpoint = bind(config()).await;
        let mut node = tokio::task::JoinSet::new();
        node.spawn(moody(Arc::clone(&endpoint), 7, 3));
        let mut options = MqttOptions::new("lib", "127.0.0.1", endpoint.local_addr().port());
        options.set_keep_alive(Duration::from_secs(5)).set_clean_session(false);
        let (client, mut events) = AsyncClient::new(options, 100);
        client.subscribe(format!("w3b/kit/refused/{}", device()), QoS::AtLeastOnce).await.unwrap();
        for body in bodies(20) {
            client.publish(TOPIC, QoS::AtLeastOnce, false, body).await.unwrap();
        }
        let (mut acked, mut told, mut reconnects) = (0, 0, 0);
        while acked < 20 || told < 1 {
            match events.poll().await {
                Ok(Event::Incoming(Packet::PubAck(_))) => acked += 1,
                Ok(Event::Incoming(Packet::Publish(p))) => {
                    told += 1;
                    assert!(String::from_utf8_lossy(&p.payload).contains("too-large"));
                }
                Ok(_) => {}
                Err(_) => reconnects += 1,
            }
        }
        assert_eq!(reconnects, 1, "the transient refusal closed one connection");
        let counted = |kind| endpoint.metrics().refused.iter().any(|(k, n)| *k == kind && *n == 1);
        assert!(counted(RefusalKind::StorageFailing) && counted(RefusalKind::TooLarge));
        assert!(endpoint.metrics().accepted >= 19, "all but the one that is too large");
        endpoint.close().await.unwrap();
    });
}

#[test]
fn a_5_client_gets_everything_through_and_commands_back() {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason};
    use rumqttc::v5::{AsyncClient, Event, MqttOptions};
    block_on(async {
        let endpoint = bind(config()).await;
        let mut node = tokio::task::JoinSet::new();
        node.spawn(moody(Arc::clone(&endpoint), usize::MAX, 3));
        let mut options = MqttOptions::new("lib", "127.0.0.1", endpoint.local_addr().port());
        options.set_keep_alive(Duration::from_secs(5));
        let (client, mut events) = AsyncClient::new(options, 100);
        client.subscribe("w3b/kit/cmd/+", QoS::AtLeastOnce).await.unwrap();
        let bodies = bodies(20);
        for body in bodies {
            client.publish(TOPIC, QoS::AtLeastOnce, false, body).await.unwrap();
        }
        let (mut good, mut bad, mut commands) = (0, 0, 0);
        while good + bad < 20 || commands < 1 {
            match events.poll().await {
                Ok(Event::Incoming(Packet::SubAck(_))) => {
                    let command = Publication {
                        topic: "w3b/kit/cmd/lib".into(),
                        payload: b"on".to_vec(),
                        idempotency_key: "k".into(),
                    };
                    endpoint.publish(command).await.unwrap();
                }
                Ok(Event::Incoming(Packet::PubAck(ack))) => match ack.reason {
                    PubAckReason::Success => good += 1,
                    PubAckReason::ImplementationSpecificError => bad += 1,
                    other => panic!("{other:?}"),
                },
                Ok(Event::Incoming(Packet::Publish(_))) => commands += 1,
                Ok(_) => {}
                Err(e) => panic!("{e:?}"),
            }
        }
        assert_eq!((good, bad, commands), (19, 1, 1));
        endpoint.close().await.unwrap();
    });
}
