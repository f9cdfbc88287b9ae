use super::broken::{Broken, Fault};
use super::*;
use crate::MemorySigner;

struct Memory;

impl Builder for Memory {
    fn open(&self) -> Box<dyn Signer> {
        Box::new(MemorySigner::from_seed([7; 32]).unwrap())
    }

    fn secrets(&self) -> Vec<[u8; 32]> {
        let signer = MemorySigner::from_seed([7; 32]).unwrap();
        Role::ALL.map(|r| signer.secret(r).unwrap().to_bytes()).to_vec()
    }
}

mod memory {
    crate::signer_conformance!(super::Memory);
}

#[test]
fn the_macro_names_every_property() {
    // The macro's list is written by hand; `module_path` of its tests cannot be asked for.
    let text = include_str!("mod.rs");
    let list = text.split("@each $builder;").nth(1).unwrap().split(");").next().unwrap();
    for (name, _) in PROPERTIES {
        assert!(list.contains(name), "signer_conformance! leaves out {name}");
    }
}

#[test]
fn every_broken_wallet_is_found_by_the_property_that_is_about_it() {
    for fault in Fault::ALL {
        let found = run_all(&Broken::new(fault)).expect_err(&format!("{fault:?} passes"));
        let wanted = match fault {
            Fault::SharedKey => "roles_share_no_key",
            Fault::SignsPrefix | Fault::OtherPublicKey => "signatures_verify",
            Fault::SharedFees => "projects_pay_from_accounts_of_their_own",
            Fault::FlippedV | Fault::AnyRoleRecovers => "recoverable_recovers_to_the_address",
            Fault::NewKeysOnReopen => "keys_survive_a_reopen",
            Fault::WrongCurve => "every_role_has_a_key_of_its_algorithm",
            Fault::PrintsSecrets => "debug_and_errors_show_no_secret",
        };
        assert!(found.iter().any(|v| v.property == wanted), "{fault:?}: {found:?}");
    }
}

#[test]
fn a_wallet_without_a_role_says_so() {
    let signer = MemorySigner::from_seed([7; 32]).unwrap().without(Role::Owner);
    assert_eq!(signer.sign(Role::Owner, b"x").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(signer.public(Role::Owner).unwrap_err().to_string(), "no key for the role owner");
}
