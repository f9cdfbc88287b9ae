//! Generates the committed Rust of `proto/`, without `protoc`.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use prost::Message as _;

use crate::workspace::Workspace;

/// The signed envelope: messages alone, for devices and nodes.
const WIRE: [&str; 1] = ["w3bstream/v1/envelope.proto"];
const WIRE_TARGET: &str = "crates/wire/src/generated";

/// The services, with clients and servers.
const GRPC: [&str; 2] = ["w3bstream/v1/ingest.proto", "w3bstream/v1/messages.proto"];
const GRPC_TARGET: &str = "crates/endpoint-grpc/src/generated";
/// What a server tells those who ask for its interface: all files, without their comments.
const DESCRIPTORS: &str = "descriptors.bin";

/// Writes the generated code; with `check`, only compares it with what is committed.
///
/// # Errors
/// If a `.proto` does not compile, a file cannot be written, or (with `check`) a file differs.
pub(crate) fn run(check: bool) -> anyhow::Result<()> {
    let root = Workspace::here()?.workspace_root;
    let protos = root.join("proto");
    let made = root.join("target").join("codegen");
    if made.exists() {
        fs::remove_dir_all(&made).with_context(|| format!("clearing {}", made.display()))?;
    }
    let (wire, grpc) = (made.join("wire"), made.join("grpc"));
    for dir in [&wire, &grpc] {
        fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    }
    make_wire(&protos, &wire)?;
    make_grpc(&protos, &grpc)?;
    for (from, target) in [(wire, WIRE_TARGET), (grpc, GRPC_TARGET)] {
        let target = root.join(target);
        fs::create_dir_all(&target).with_context(|| format!("creating {}", target.display()))?;
        for name in generated_names(&from)? {
            let bytes = fs::read(from.join(&name)).with_context(|| format!("reading {name}"))?;
            put(&target.join(&name), &bytes, check)?;
        }
    }
    Ok(())
}

fn make_wire(protos: &Path, out: &Path) -> anyhow::Result<()> {
    let descriptors = protox::compile(WIRE.map(|p| protos.join(p)), [protos]).context("compiling proto/")?;
    let mut config = prost_build::Config::new();
    config.out_dir(out);
    config.compile_fds(descriptors).context("generating code from proto/")
}

fn make_grpc(protos: &Path, out: &Path) -> anyhow::Result<()> {
    let descriptors = protox::compile(GRPC.map(|p| protos.join(p)), [protos]).context("compiling proto/")?;
    tonic_prost_build::configure()
        .out_dir(out)
        // Connections are the endpoint's matter, and a client's.
        .build_transport(false)
        // A message that cannot be read is the sender's fault, which the usual codec does not say.
        .codec_path("crate::codec::Codec")
        .compile_fds(descriptors)
        .context("generating services from proto/")?;
    let all = WIRE.into_iter().chain(GRPC).map(|p| protos.join(p));
    let mut all = protox::compile(all, [protos]).context("compiling proto/")?;
    for file in &mut all.file {
        file.source_code_info = None;
    }
    let path = out.join(DESCRIPTORS);
    fs::write(&path, all.encode_to_vec()).with_context(|| format!("writing {}", path.display()))
}

fn generated_names(dir: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn put(path: &Path, bytes: &[u8], check: bool) -> anyhow::Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if check {
        bail!("{} is not what proto/ gives; run `cargo xtask codegen` and commit it", path.display());
    }
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}
