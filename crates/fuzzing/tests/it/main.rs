//! All seeds, all regressions and a number of mutations go through every target.

mod corpus;
mod mutate;
mod seeds;
