//! What every [`Signer`] must do, as tests that any implementation can run.
//!
//! Write a [`Builder`] that opens your wallet, and put one line into your tests:
//!
//! ```
//! use w3bstream_wallet::conformance::Builder;
//! use w3bstream_wallet::{MemorySigner, Signer};
//!
//! struct Memory;
//!
//! impl Builder for Memory {
//!     fn open(&self) -> Box<dyn Signer> {
//!         Box::new(MemorySigner::from_seed([7; 32]).expect("is a scalar"))
//!     }
//! }
//!
//! w3bstream_wallet::signer_conformance!(Memory);
//! ```
//!
//! The kit ships wallets that are [`broken`] on purpose and must find each one.

pub mod broken;

use w3bstream_types::{Address, Algorithm, Digest, Genesis, ProjectId, Timestamp, keccak256};

use crate::{Error, ErrorKind, Role, Signer, member};

/// Opens the wallet under test.
pub trait Builder: Sync {
    /// Opens the *same* wallet, the second time as after a restart of the process.
    fn open(&self) -> Box<dyn Signer>;

    /// The private keys that the wallet holds, where the test knows them, so that the kit can look for them
    /// in what the wallet prints.
    fn secrets(&self) -> Vec<[u8; 32]> {
        Vec::new()
    }
}

/// A promise that the wallet under test does not keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The property, by the name of its function.
    pub property: &'static str,
    /// What was seen.
    pub why: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.property, self.why)
    }
}

impl std::error::Error for Violation {}

/// A property of the kit.
pub type Property = fn(&dyn Builder) -> Result<(), Violation>;

/// Every property with its name.
pub const PROPERTIES: [(&str, Property); 8] = [
    ("every_role_has_a_key_of_its_algorithm", every_role_has_a_key_of_its_algorithm),
    ("roles_share_no_key", roles_share_no_key),
    ("signatures_verify", signatures_verify),
    ("recoverable_recovers_to_the_address", recoverable_recovers_to_the_address),
    ("projects_pay_from_accounts_of_their_own", projects_pay_from_accounts_of_their_own),
    ("keys_survive_a_reopen", keys_survive_a_reopen),
    ("signs_from_many_threads", signs_from_many_threads),
    ("debug_and_errors_show_no_secret", debug_and_errors_show_no_secret),
];

/// Runs every property.
///
/// # Errors
/// All violations that were found.
pub fn run_all(builder: &dyn Builder) -> Result<(), Vec<Violation>> {
    let found: Vec<_> = PROPERTIES.iter().filter_map(|(_, property)| property(builder).err()).collect();
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// Emits one `#[test]` for each property of the kit; takes an expression that gives a
/// [`Builder`](crate::conformance::Builder).
#[macro_export]
macro_rules! signer_conformance {
    ($builder:expr) => {
        $crate::signer_conformance!(@each $builder;
            every_role_has_a_key_of_its_algorithm,
            roles_share_no_key,
            signatures_verify,
            recoverable_recovers_to_the_address,
            projects_pay_from_accounts_of_their_own,
            keys_survive_a_reopen,
            signs_from_many_threads,
            debug_and_errors_show_no_secret,
        );
    };
    (@each $builder:expr; $($property:ident,)+) => {
        $(#[test]
        fn $property() -> Result<(), $crate::conformance::Violation> {
            $crate::conformance::$property(&$builder)
        })+
    };
}

struct Probe(&'static str);

impl Probe {
    fn fail<T>(&self, why: impl Into<String>) -> Result<T, Violation> {
        Err(Violation { property: self.0, why: why.into() })
    }

    fn ok<T>(&self, what: &str, result: Result<T, Error>) -> Result<T, Violation> {
        result.or_else(|e| self.fail(format!("{what}: {e}")))
    }
}

/// Every role has a key, and its algorithm is the role's.
///
/// # Errors
/// [`Violation`].
pub fn every_role_has_a_key_of_its_algorithm(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe("every_role_has_a_key_of_its_algorithm");
    let signer = builder.open();
    for role in Role::ALL {
        let key = probe.ok(role.name(), signer.public(role))?;
        if key.algorithm() != role.algorithm() {
            return probe.fail(format!("{}'s key is {}", role.name(), key.algorithm()));
        }
    }
    Ok(())
}

/// A key that is used for two roles lets a signature of one be replayed as the other's.
///
/// # Errors
/// [`Violation`].
pub fn roles_share_no_key(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe("roles_share_no_key");
    let signer = builder.open();
    for (i, a) in Role::ALL.into_iter().enumerate() {
        for b in Role::ALL.into_iter().skip(i + 1) {
            if probe.ok(a.name(), signer.public(a))? == probe.ok(b.name(), signer.public(b))? {
                return probe.fail(format!("{} and {} have one key", a.name(), b.name()));
            }
        }
    }
    Ok(())
}

/// Signatures of empty, short and long messages verify with the role's public key and with no other
/// message, and the keys that vouch for each other make a valid genesis.
///
/// # Errors
/// [`Violation`].
pub fn signatures_verify(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe("signatures_verify");
    let signer = builder.open();
    for role in Role::ALL {
        let key = probe.ok(role.name(), signer.public(role))?;
        for message in [&b""[..], b"a message", &[0xa5; 100_000]] {
            let signature = probe.ok(role.name(), signer.sign(role, message))?;
            if let Err(e) = key.verify(message, &signature) {
                return probe.fail(format!("{} over {} bytes: {e}", role.name(), message.len()));
            }
            if key.verify(b"another message", &signature).is_ok() {
                return probe.fail(format!("{} verifies a message that was not signed", role.name()));
            }
        }
    }
    let did = probe.ok("node did", crate::node_did(&*signer))?;
    let member = probe.ok("member", member(&*signer, did))?;
    let genesis = Genesis {
        project: ProjectId(Digest::of(b"project")),
        backend: "solo".into(),
        abi_version: 1,
        epoch: 0,
        created: Timestamp(1),
        members: vec![member],
    };
    genesis.check().or_else(|e| probe.fail(e.to_string()))
}

/// Ethereum signatures recover to the address of the attestation key; other roles refuse to make one.
///
/// # Errors
/// [`Violation`].
pub fn recoverable_recovers_to_the_address(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe("recoverable_recovers_to_the_address");
    let signer = builder.open();
    let key = probe.ok("attestation", signer.public(Role::Attestation))?;
    let wanted = Address::of_key(&key).or_else(|e| probe.fail(e.to_string()))?;
    for i in 0..16_u8 {
        let hash = keccak256(&[i]);
        let signature = probe.ok("attestation", signer.sign_recoverable(Role::Attestation, &hash))?;
        match Address::recover(&hash, &signature) {
            Ok(found) if found == wanted => {}
            Ok(found) => return probe.fail(format!("recovers to {found}, the key's address is {wanted}")),
            Err(e) => return probe.fail(e.to_string()),
        }
    }
    for role in Role::ALL.into_iter().filter(|r| r.algorithm() != Algorithm::ES256K) {
        match signer.sign_recoverable(role, &[1; 32]) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => {
                return probe.fail(format!("{} refuses with {:?}, not NotFound", role.name(), e.kind()));
            }
            Ok(_) => return probe.fail(format!("{} makes an Ethereum signature", role.name())),
        }
    }
    Ok(())
}

/// Each project has a fee account of its own, the same after a reopen, and its signatures recover to it.
///
/// # Errors
/// [`Violation`].
pub fn projects_pay_from_accounts_of_their_own(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe("projects_pay_from_accounts_of_their_own");
    let (signer, again) = (builder.open(), builder.open());
    let mut accounts = Vec::new();
    for name in [b"one", b"two"] {
        let project = ProjectId(Digest::of(name));
        let key = probe.ok("fee key", signer.fee_key(project))?;
        if probe.ok("fee key", again.fee_key(project))? != key {
            return probe.fail("a project has another fee account after a reopen");
        }
        let account = Address::of_key(&key).or_else(|e| probe.fail(e.to_string()))?;
        let hash = keccak256(name);
        let signature = probe.ok("sign_fee", signer.sign_fee(project, &hash))?;
        match Address::recover(&hash, &signature) {
            Ok(found) if found == account => accounts.push(account),
            Ok(found) => return probe.fail(format!("recovers to {found}, the account is {account}")),
            Err(e) => return probe.fail(e.to_string()),
        }
    }
    if let [one, two] = accounts.as_slice()
        && one == two
    {
        return probe.fail("two projects pay from one account");
    }
    Ok(())
}

/// A wallet that is opened again has the same keys, and signs with them.
///
/// # Errors
/// [`Violation`].
pub fn keys_survive_a_reopen(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe("keys_survive_a_reopen");
    let first = builder.open();
    let mut keys = Vec::new();
    for role in Role::ALL {
        keys.push((role, probe.ok(role.name(), first.public(role))?));
    }
    drop(first);
    let again = builder.open();
    for (role, key) in keys {
        if probe.ok(role.name(), again.public(role))? != key {
            return probe.fail(format!("{} has another key after a reopen", role.name()));
        }
        let signature = probe.ok(role.name(), again.sign(role, b"after"))?;
        if key.verify(b"after", &signature).is_err() {
            return probe.fail(format!("{} signs with another key after a reopen", role.name()));
        }
    }
    Ok(())
}

/// Eight threads sign at once, and each signature is the right one.
///
/// # Errors
/// [`Violation`].
pub fn signs_from_many_threads(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe("signs_from_many_threads");
    let signer = builder.open();
    let one = |thread: u8| -> Result<(), Violation> {
        let role = Role::ALL[usize::from(thread) % Role::ALL.len()];
        let key = probe.ok(role.name(), signer.public(role))?;
        for i in 0..8 {
            let message = [thread, i];
            let signature = probe.ok(role.name(), signer.sign(role, &message))?;
            if key.verify(&message, &signature).is_err() {
                return probe.fail(format!("{} gives a wrong signature under load", role.name()));
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|i| scope.spawn(move || one(i))).collect();
        threads.into_iter().try_for_each(|t| {
            t.join().unwrap_or_else(|_| Probe("signs_from_many_threads").fail("signing panicked"))
        })
    })
}

/// Neither `Debug` nor an error's text holds a private key in hex or as a list of numbers.
///
/// # Errors
/// [`Violation`].
pub fn debug_and_errors_show_no_secret(builder: &dyn Builder) -> Result<(), Violation> {
    let probe = Probe("debug_and_errors_show_no_secret");
    let signer = builder.open();
    let mut shown = vec![format!("{signer:?}"), format!("{signer:#?}")];
    for role in Role::ALL {
        if let Err(e) = signer.sign_recoverable(role, &[1; 32]) {
            shown.extend([format!("{e}"), format!("{e:?}")]);
        }
    }
    for secret in builder.secrets() {
        let hex: String = secret.iter().map(|b| format!("{b:02x}")).collect();
        let numbers = format!("{secret:?}");
        let numbers = numbers.trim_matches(['[', ']']);
        for text in &shown {
            // The pretty form breaks a list of numbers over lines.
            let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
            if flat.to_lowercase().contains(&hex) || flat.contains(numbers) {
                return probe.fail("a private key is printed");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
