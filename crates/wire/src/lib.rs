//! Protobuf and JWS forms of a device message.
