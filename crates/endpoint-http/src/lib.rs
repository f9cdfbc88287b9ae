//! Devices over HTTP.
