use super::broken::{Broken, Fault, damage};
use super::*;
use crate::MemoryVfs;

struct Memory(MemoryVfs);

#[async_trait]
impl Builder for Memory {
    async fn open(&self) -> Box<dyn Vfs> {
        Box::new(self.0.reopen())
    }

    async fn damage_program(&self, digest: Digest) -> bool {
        damage(&self.0, digest)
    }
}

mod memory {
    use super::Memory;
    use crate::MemoryVfs;

    crate::vfs_conformance!(Memory(MemoryVfs::new()));
}

#[test]
fn all_properties_may_share_one_store() {
    assert_eq!(block_on(run_all(&Memory(MemoryVfs::new()))), Ok(()));
}

#[test]
fn the_macro_names_every_property() {
    let text = include_str!("mod.rs");
    let list = text.split("@each $builder;").nth(1).unwrap().split(");").next().unwrap();
    for name in NAMES {
        assert!(list.contains(name), "vfs_conformance! leaves out {name}");
    }
}

#[test]
fn every_broken_store_is_found_by_the_property_that_is_about_it() {
    for fault in Fault::ALL {
        let found = block_on(run_all(&Broken::new(fault))).expect_err(&format!("{fault:?} passes"));
        let wanted = match fault {
            Fault::ForgetsOnReopen => "the_state_survives_a_reopen",
            Fault::ServesUnchecked => "a_changed_program_is_noticed",
            Fault::OtherDigest => "programs_are_kept_by_digest",
            Fault::AppliesTwice | Fault::OtherRootOnRepeat => "apply_is_idempotent",
            Fault::AcceptsGaps => "a_gap_in_heights_is_refused",
            Fault::RootIgnoresRegistry => "the_root_covers_every_namespace",
            Fault::RootKnowsHistory | Fault::EmptyIsDeleted => "the_root_is_that_of_the_entries",
            Fault::KeepsDeleted => "a_model_agrees",
            Fault::LosesResults | Fault::LastIndexWins => "results_are_kept",
            Fault::ScansBackwards | Fault::ScanIncludesAfter | Fault::ScanLeavesPrefix => {
                "scans_are_in_order_and_complete"
            }
            Fault::MixesProjects => "projects_are_apart",
            Fault::KeepsHalfABlock => "a_failed_apply_changes_nothing",
            Fault::IgnoresClose => "a_closed_store_refuses",
        };
        assert!(found.iter().any(|v| v.property == wanted), "{fault:?}: {found:?}");
    }
}
