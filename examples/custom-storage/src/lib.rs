//! A storage backend of one's own, in a node of one's own.
