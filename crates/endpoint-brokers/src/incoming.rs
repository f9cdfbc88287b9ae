//! Packets of a broker, from the shapes that rumqttc gives them in each version.

use std::num::NonZeroU16;

use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

use crate::packet::{Due, Fault, Granted, Incoming, Publish, reason_string};

fn due(level: u8, id: u16) -> Result<Due, Fault> {
    match (level, NonZeroU16::new(id)) {
        (0, _) => Ok(Due::Nothing),
        (1, Some(id)) => Ok(Due::PubAck(id)),
        (2, Some(id)) => Ok(Due::PubRec(id)),
        _ => Err("a message with the packet id 0".to_owned()),
    }
}

pub(crate) fn from_v4(packet: v4::Packet) -> Result<Incoming, Fault> {
    Ok(match packet {
        v4::Packet::ConnAck(ack) if ack.code == v4::ConnectReturnCode::Success => {
            Incoming::ConnAck(Ok(Granted { session_present: ack.session_present, ..Granted::default() }))
        }
        v4::Packet::ConnAck(ack) => Incoming::ConnAck(Err(format!("{:?}", ack.code))),
        v4::Packet::SubAck(ack) => {
            let code = |code: &v4::SubscribeReasonCode| match code {
                v4::SubscribeReasonCode::Success(qos) => Ok(*qos as u8),
                v4::SubscribeReasonCode::Failure => Err("Failure".to_owned()),
            };
            Incoming::SubAck(ack.return_codes.iter().map(code).collect())
        }
        v4::Packet::Publish(publish) => Incoming::Publish(Publish {
            due: due(publish.qos as u8, publish.pkid)?,
            repeated: publish.dup,
            topic: publish.topic,
            content_type: None,
            payload: publish.payload,
        }),
        v4::Packet::PubRel(release) => Incoming::Released(release.pkid),
        v4::Packet::PubAck(ack) => Incoming::Acked(ack.pkid, None),
        v4::Packet::PingResp => Incoming::Pong,
        _ => return Err("a packet that no broker sends here".to_owned()),
    })
}

pub(crate) fn from_v5(packet: v5::Packet) -> Result<Incoming, Fault> {
    Ok(match packet {
        v5::Packet::ConnAck(ack) => {
            let properties = ack.properties;
            if ack.code != v5::ConnectReturnCode::Success {
                let why = properties.and_then(|p| p.reason_string).unwrap_or_default();
                return Ok(Incoming::ConnAck(Err(with_reason(&ack.code, &why))));
            }
            let of = properties.as_ref();
            Incoming::ConnAck(Ok(Granted {
                session_present: ack.session_present,
                receive_max: of.and_then(|p| p.receive_max),
                max_packet_bytes: of.and_then(|p| p.max_packet_size),
                keep_alive_secs: of.and_then(|p| p.server_keep_alive),
            }))
        }
        v5::Packet::SubAck(ack) => {
            let code = |code: &v5::SubscribeReasonCode| match code {
                v5::SubscribeReasonCode::Success(qos) => Ok(*qos as u8),
                other => Err(format!("{other:?}")),
            };
            Incoming::SubAck(ack.return_codes.iter().map(code).collect())
        }
        v5::Packet::Publish(publish) => {
            let topic = String::from_utf8(publish.topic.to_vec()).map_err(|_| "a topic that is no text")?;
            Incoming::Publish(Publish {
                due: due(publish.qos as u8, publish.pkid)?,
                repeated: publish.dup,
                topic,
                content_type: publish.properties.and_then(|p| p.content_type),
                payload: publish.payload,
            })
        }
        v5::Packet::PubRel(release) => Incoming::Released(release.pkid),
        v5::Packet::PubAck(ack) => {
            let taken =
                matches!(ack.reason, v5::PubAckReason::Success | v5::PubAckReason::NoMatchingSubscribers);
            Incoming::Acked(ack.pkid, (!taken).then(|| format!("{:?}", ack.reason)))
        }
        v5::Packet::PingResp(_) => Incoming::Pong,
        v5::Packet::Disconnect(end) => {
            let why = end.properties.and_then(|p| p.reason_string).unwrap_or_default();
            Incoming::Disconnect(with_reason(&end.reason_code, &why))
        }
        _ => return Err("a packet that no broker sends here".to_owned()),
    })
}

fn with_reason(code: &impl std::fmt::Debug, why: &str) -> String {
    match why {
        "" => format!("{code:?}"),
        why => format!("{code:?}, {}", reason_string(why)),
    }
}
