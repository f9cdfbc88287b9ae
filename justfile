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
    scripts/test-real-servers
    cargo build --release -p w3bstream-tests --bins
    W3B_CRASH_ACKS=1000 W3B_CRASH_NODE="${CARGO_TARGET_DIR:-$PWD/target}/release/crash-node" cargo test -p w3bstream-tests --test it -- --nocapture crash
    W3B_CAMPAIGN=1000 scripts/test-anvil
    W3B_BLOCKS=500 W3B_INSTANCES=1000000 W3B_MODULES=5000 cargo test --release -p w3bstream-engine-wasmer -p w3bstream-engine-wasmtime -- --nocapture
    W3B_GUESTS=100000 W3B_GUESTS_SEED=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ') cargo test --release -p w3bstream-tests --test it -- --nocapture hostile_guests::generated
    W3B_HOSTILE="${CARGO_TARGET_DIR:-$PWD/target}/release/hostile" scripts/test-hostile --full "${CARGO_TARGET_DIR:-$PWD/target}/release/w3bstream"
    scripts/fuzz 600

# Known vulnerabilities; needs the network.
advisories:
    cargo deny check advisories

# The release archive, in dist/; takes one release build.
dist:
    scripts/dist
