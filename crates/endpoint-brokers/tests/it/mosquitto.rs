//! Against Mosquitto.
