//! Cold-chain applet: daily minimum, maximum, count and alarms per device.
