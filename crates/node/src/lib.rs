//! A W3bstream node: builder, registry, config, admin API, command line.
