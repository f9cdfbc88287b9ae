//! Properties of programs.

use w3bstream_types::Digest;

use super::{Builder, Probe, Violation};
use crate::ErrorKind;

/// A program has the SHA-256 of its bytes as name; storing it again changes nothing; unknown ones are
/// `NotFound`.
///
/// # Errors
/// [`Violation`].
pub async fn programs_are_kept_by_digest(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe("programs_are_kept_by_digest");
    let vfs = builder.open().await;
    let big: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).take(1_000_000).collect();
    for bytes in [b"\0asm one".to_vec(), b"\0asm two".to_vec(), big] {
        let wanted = Digest::of(&bytes);
        for _ in 0..2 {
            let digest = probe.ok("put_program", vfs.put_program(bytes.clone()).await)?;
            probe.same("the digest", &digest, &wanted)?;
            let read = probe.ok("program", vfs.program(wanted).await)?;
            if read != bytes {
                return probe.fail(format!("a program of {} bytes comes back changed", bytes.len()));
            }
        }
    }
    probe.kind("reading an unknown program", vfs.program(Digest::of(b"unknown")).await, ErrorKind::NotFound)
}

/// A program whose bytes were changed on the disk is `WrongDigest` and never given away, and storing it
/// again repairs it.
///
/// # Errors
/// [`Violation`].
pub async fn a_changed_program_is_noticed(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe("a_changed_program_is_noticed");
    let program = b"\0asm to be changed".to_vec();
    let vfs = builder.open().await;
    let digest = probe.ok("put_program", vfs.put_program(program.clone()).await)?;
    if !builder.damage_program(digest).await {
        return Ok(());
    }
    for vfs in [vfs, builder.open().await] {
        probe.kind("reading a changed program", vfs.program(digest).await, ErrorKind::WrongDigest)?;
    }
    let vfs = builder.open().await;
    probe.ok("put_program", vfs.put_program(program.clone()).await)?;
    probe.same("the repaired program", &probe.ok("program", vfs.program(digest).await)?, &program)
}

/// Programs are there after a restart, without a close.
///
/// # Errors
/// [`Violation`].
pub async fn programs_survive_a_reopen(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe("programs_survive_a_reopen");
    let program = b"\0asm that stays".to_vec();
    let digest = {
        let vfs = builder.open().await;
        probe.ok("put_program", vfs.put_program(program.clone()).await)?
    };
    let vfs = builder.open().await;
    probe.same("the program", &probe.ok("program", vfs.program(digest).await)?, &program)
}
