//! Named tasks, shutdown and drain order.
