//! The readable references: a registry and a signer in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use w3bstream_types::{
    DeviceRegistration, Did, Digest, Malformed, Manifest, ProjectId, ProjectName, PublicKey, PublisherName,
    SecretKey, Sequence, SequenceWindow, TokenRegistration, WindowVerdict,
};

use crate::{
    DeviceStatus, Error, ErrorKind, ProjectView, Registry, Role, Signer, TokenStatus, project_fee_key,
};

#[derive(Debug)]
struct Project {
    manifest: Arc<Manifest>,
    members: Arc<[Did]>,
    devices: BTreeMap<Did, DeviceStatus>,
    tokens: BTreeMap<PublisherName, Arc<TokenRegistration>>,
    windows: BTreeMap<Did, SequenceWindow>,
}

/// A [`Registry`] whose contents are set by hand. All methods take `&self`, so that a test can change it
/// while others read.
#[derive(Debug, Default)]
pub struct MemoryRegistry(RwLock<BTreeMap<ProjectId, Project>>);

impl MemoryRegistry {
    /// An empty registry: no project is served.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    // The map is consistent between any two statements, so a panic elsewhere does not spoil it.
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<ProjectId, Project>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<ProjectId, Project>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves a project, or puts its next manifest in force. Devices, tokens and windows stay.
    pub fn set_project(&self, manifest: Manifest) -> ProjectId {
        let (id, manifest) = (manifest.project(), Arc::new(manifest));
        let mut projects = self.write();
        if let Some(project) = projects.get_mut(&id) {
            project.manifest = manifest;
        } else {
            let (devices, tokens, windows) = Default::default();
            let members = Arc::default();
            projects.insert(id, Project { manifest, members, devices, tokens, windows });
        }
        id
    }

    /// Says who the members of a project's subnet are.
    pub fn set_members(&self, project: ProjectId, members: &[Did]) {
        self.change(project, |p| p.members = members.into());
    }

    /// Serves a project no longer.
    pub fn remove_project(&self, project: ProjectId) {
        self.write().remove(&project);
    }

    /// Changes a project; does nothing if it is not served.
    fn change(&self, project: ProjectId, change: impl FnOnce(&mut Project)) {
        if let Some(project) = self.write().get_mut(&project) {
            change(project);
        }
    }

    /// Registers a device or replaces its registration; a revoked device stays revoked.
    pub fn register_device(&self, project: ProjectId, registration: DeviceRegistration) {
        self.change(project, |p| {
            let status = p.devices.entry(registration.device.clone()).or_insert(DeviceStatus::Unknown);
            if *status != DeviceStatus::Revoked {
                *status = DeviceStatus::Registered(Arc::new(registration));
            }
        });
    }

    /// Revokes a device for ever.
    pub fn revoke_device(&self, project: ProjectId, did: &Did) {
        self.change(project, |p| {
            p.devices.insert(did.clone(), DeviceStatus::Revoked);
        });
    }

    /// Registers a publisher's token, or replaces it.
    pub fn register_token(&self, project: ProjectId, registration: TokenRegistration) {
        self.change(project, |p| {
            p.tokens.insert(registration.publisher.clone(), Arc::new(registration));
        });
    }

    /// Revokes a publisher's token.
    pub fn revoke_token(&self, project: ProjectId, publisher: &PublisherName) {
        self.change(project, |p| {
            p.tokens.remove(publisher);
        });
    }

    /// Marks a sequence number as ordered and says what was known of it before; `None` if the project is
    /// not served.
    pub fn accept(&self, project: ProjectId, did: &Did, sequence: Sequence) -> Option<WindowVerdict> {
        let mut projects = self.write();
        let windows = &mut projects.get_mut(&project)?.windows;
        Some(windows.entry(did.clone()).or_default().accept(sequence))
    }
}

impl Registry for MemoryRegistry {
    fn project(&self, name: &ProjectName) -> Option<ProjectView> {
        let projects = self.read();
        let (id, project) = projects.iter().find(|(_, p)| p.manifest.name == *name)?;
        let (manifest, members) = (project.manifest.clone(), project.members.clone());
        Some(ProjectView { id: *id, manifest, members })
    }

    fn projects(&self) -> Vec<ProjectView> {
        let view = |(id, project): (&ProjectId, &Project)| {
            let (manifest, members) = (project.manifest.clone(), project.members.clone());
            ProjectView { id: *id, manifest, members }
        };
        self.read().iter().map(view).collect()
    }

    fn device(&self, project: ProjectId, did: &Did) -> DeviceStatus {
        let projects = self.read();
        let status = projects.get(&project).and_then(|p| p.devices.get(did));
        status.cloned().unwrap_or(DeviceStatus::Unknown)
    }

    fn token(&self, project: ProjectId, hash: &Digest) -> TokenStatus {
        let projects = self.read();
        let found = projects.get(&project).and_then(|p| p.tokens.values().find(|t| t.token_hash == *hash));
        found.cloned().map_or(TokenStatus::Unknown, TokenStatus::Registered)
    }

    fn window(&self, project: ProjectId, did: &Did) -> SequenceWindow {
        let projects = self.read();
        let window = projects.get(&project).and_then(|p| p.windows.get(did));
        window.cloned().unwrap_or_default()
    }
}

/// A [`Signer`] whose keys live in memory. For tests and throw-away nodes.
#[derive(Clone)]
pub struct MemorySigner {
    keys: BTreeMap<Role, SecretKey>,
}

impl MemorySigner {
    /// A key for every role, derived from `seed`. The keys are as secret and as random as the seed is.
    ///
    /// # Errors
    /// [`Malformed`] if a derived secret is no scalar of its curve (for random seeds: never in practice).
    pub fn from_seed(seed: [u8; 32]) -> Result<Self, Malformed> {
        let key = |role: Role| {
            let secret = Digest::tagged("w3b/memory-signer/1", &[role.name().as_bytes(), &seed]);
            Ok((role, SecretKey::from_bytes(role.algorithm(), secret.as_bytes())?))
        };
        Ok(Self { keys: Role::ALL.into_iter().map(key).collect::<Result<_, Malformed>>()? })
    }

    /// A wallet with these keys.
    ///
    /// # Errors
    /// [`Malformed`] if a key is not of its role's algorithm.
    pub fn from_keys(keys: impl IntoIterator<Item = (Role, SecretKey)>) -> Result<Self, Malformed> {
        let empty = Self { keys: BTreeMap::new() };
        keys.into_iter().try_fold(empty, |signer, (role, key)| signer.with(role, key))
    }

    /// Replaces the key of a role.
    ///
    /// # Errors
    /// [`Malformed`] if the key is not of the role's algorithm.
    pub fn with(mut self, role: Role, key: SecretKey) -> Result<Self, Malformed> {
        if key.algorithm() != role.algorithm() {
            let why = format!("the role {} needs {}, not {}", role.name(), role.algorithm(), key.algorithm());
            return Err(Malformed::new("key", why));
        }
        self.keys.insert(role, key);
        Ok(self)
    }

    /// Takes the key of a role away, as in a wallet that holds only some.
    #[must_use]
    pub fn without(mut self, role: Role) -> Self {
        self.keys.remove(&role);
        self
    }

    /// The private key of a role.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none.
    pub fn secret(&self, role: Role) -> Result<&SecretKey, Error> {
        self.keys
            .get(&role)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no key for the role {}", role.name())))
    }
}

impl fmt::Debug for MemorySigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let public = self.keys.iter().map(|(role, key)| (role.name(), key.public()));
        f.debug_map().entries(public).finish()
    }
}

impl Signer for MemorySigner {
    fn public(&self, role: Role) -> Result<PublicKey, Error> {
        self.secret(role).map(SecretKey::public)
    }

    fn sign(&self, role: Role, message: &[u8]) -> Result<[u8; 64], Error> {
        Ok(self.secret(role)?.sign(message))
    }

    fn sign_recoverable(&self, role: Role, hash: &[u8; 32]) -> Result<[u8; 65], Error> {
        self.secret(role)?.sign_recoverable(hash).ok_or_else(|| {
            let what = format!("the role {} has no secp256k1 key", role.name());
            Error::new(ErrorKind::NotFound, what)
        })
    }

    fn fee_key(&self, project: ProjectId) -> Result<PublicKey, Error> {
        Ok(project_fee_key(self.secret(Role::Fees)?, project)?.public())
    }

    fn sign_fee(&self, project: ProjectId, hash: &[u8; 32]) -> Result<[u8; 65], Error> {
        let key = project_fee_key(self.secret(Role::Fees)?, project)?;
        key.sign_recoverable(hash)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "the fee key is no secp256k1 key"))
    }
}
