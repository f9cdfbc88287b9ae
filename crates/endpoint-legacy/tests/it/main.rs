//! Tests of the original's routes on a node that is played.
