//! Measurements against named rivals.
