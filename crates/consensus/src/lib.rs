//! Room: one order of messages for a subnet.
