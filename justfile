# What CI runs, by name.

# Everything that main must pass.
ci:
    .ci/run

# Quick checks before a commit.
check:
    cargo fmt --all -- --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo test --workspace
    cargo run -p xtask -- standalone

# The longer campaigns.
nightly:
    W3B_CRASH_ACKS=1000 cargo test --release -p w3bstream-tests -- --nocapture crash

# Known vulnerabilities; needs the network.
advisories:
    cargo deny check advisories
