//! What a refusal is called in MQTT.

use rmqtt_codec::v5::{DisconnectReasonCode, PublishAckReason};
use w3bstream_types::RefusalKind;
pub(crate) use w3bstream_wire::refusal_reason as reason;

/// How a refusal is told to an MQTT 5 device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// By a PUBACK: the device may forget the message.
    PubAck(PublishAckReason),
    /// By the end of the connection, after a while, without a PUBACK: the device must send it again.
    Disconnect(DisconnectReasonCode),
}

/// The code for a kind of refusal.
pub(crate) const fn told(kind: RefusalKind) -> Told {
    match kind {
        RefusalKind::Malformed => Told::PubAck(PublishAckReason::PayloadFormatInvalid),
        RefusalKind::BadSignature
        | RefusalKind::UnknownDevice
        | RefusalKind::Revoked
        | RefusalKind::BadToken
        | RefusalKind::NotAllowed
        | RefusalKind::WrongAudience
        | RefusalKind::UnknownProject
        | RefusalKind::Removed => Told::PubAck(PublishAckReason::NotAuthorized),
        RefusalKind::Conflict | RefusalKind::TooOld | RefusalKind::TooLarge => {
            Told::PubAck(PublishAckReason::ImplementationSpecificError)
        }
        RefusalKind::Overloaded => Told::Disconnect(DisconnectReasonCode::QuotaExceeded),
        RefusalKind::StorageFailing | RefusalKind::NotReady => {
            Told::Disconnect(DisconnectReasonCode::ServerBusy)
        }
        RefusalKind::ShuttingDown => Told::Disconnect(DisconnectReasonCode::ServerShuttingDown),
    }
}

#[cfg(test)]
mod tests {
    use w3bstream_types::Refusal;

    use super::*;

    #[test]
    fn a_puback_is_sent_for_permanent_refusals_only() {
        for kind in RefusalKind::ALL {
            let acked = matches!(told(kind), Told::PubAck(code) if u8::from(code) >= 0x80);
            assert_eq!(acked, kind.is_permanent(), "{kind}");
        }
    }

    #[test]
    fn the_reason_begins_with_the_code_and_names_the_next_epoch() {
        let mut refusal = Refusal::new(RefusalKind::TooOld, "below the window");
        assert_eq!(reason(&refusal), "too-old: below the window");
        refusal.next_epoch = Some(7);
        assert_eq!(reason(&refusal), "too-old: below the window; next-epoch=7");
    }
}
