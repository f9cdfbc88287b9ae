//! Devices over MQTT: an embedded broker.
