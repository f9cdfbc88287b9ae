//! The replicated registry of every project, in memory: what admission asks and what a block changes.
//!
//! Ground truth is the project's state in the vfs; this is its image as of the last applied block. A block
//! is applied to a [`Draft`] first, and the image changes only after the vfs has stored the result.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use w3bstream_types::{
    Canonical, DeviceRegistration, Did, Digest, Manifest, ProjectId, ProjectName, PublisherName,
    SequenceWindow, TokenRegistration,
};
use w3bstream_vfs::{Vfs, key};
use w3bstream_wallet::{DeviceStatus, ProjectView, Registry, TokenStatus};

use crate::Error;

/// The registry of one project.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    pub(crate) manifest: Option<Arc<Manifest>>,
    /// The DIDs of the subnet's members; of the genesis, not of the state.
    pub(crate) members: Arc<[Did]>,
    pub(crate) nonce: u64,
    pub(crate) devices: HashMap<Did, DeviceStatus>,
    pub(crate) publishers: HashMap<PublisherName, Arc<TokenRegistration>>,
    pub(crate) tokens: HashMap<Digest, Arc<TokenRegistration>>,
    pub(crate) windows: HashMap<Did, SequenceWindow>,
    /// The height at which the project was removed.
    pub(crate) removed: Option<u64>,
}

/// What a block changes in an [`Image`].
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) manifest: Option<Arc<Manifest>>,
    pub(crate) nonce: Option<u64>,
    pub(crate) devices: HashMap<Did, DeviceStatus>,
    pub(crate) publishers: HashMap<PublisherName, Option<Arc<TokenRegistration>>>,
    pub(crate) windows: HashMap<Did, SequenceWindow>,
    pub(crate) removed: Option<u64>,
}

impl Image {
    /// Reads a project's registry from its state.
    pub(crate) async fn load(vfs: &dyn Vfs, project: ProjectId) -> Result<Self, Error> {
        let mut image = Self::default();
        if let Some(bytes) = vfs.get(project, &key::manifest()).await? {
            image.manifest = Some(Arc::new(Manifest::from_canonical(&bytes)?));
        }
        if let Some(bytes) = vfs.get(project, &key::control_nonce()).await? {
            image.nonce = bytes.try_into().map_or(0, u64::from_be_bytes);
        }
        if let Some(bytes) = vfs.get(project, &key::removed()).await? {
            // Whatever stands there, the project is removed.
            image.removed = Some(bytes.try_into().map_or(0, u64::from_be_bytes));
        }
        for bytes in scan(vfs, project, &key::devices()).await? {
            let device = DeviceRegistration::from_canonical(&bytes)?;
            let did = device.device.clone();
            let revoked = vfs.get(project, &key::revoked_device(&did)).await?.is_some();
            if let Some(bytes) = vfs.get(project, &key::window(&did)).await? {
                image.windows.insert(did.clone(), SequenceWindow::from_canonical(&bytes)?);
            }
            let status =
                if revoked { DeviceStatus::Revoked } else { DeviceStatus::Registered(Arc::new(device)) };
            image.devices.insert(did, status);
        }
        for bytes in scan(vfs, project, &key::publishers()).await? {
            let token = Arc::new(TokenRegistration::from_canonical(&bytes)?);
            image.tokens.insert(token.token_hash, token.clone());
            image.publishers.insert(token.publisher.clone(), token);
        }
        Ok(image)
    }

    /// Takes over what a block has changed.
    pub(crate) fn adopt(&mut self, draft: Draft) {
        if draft.manifest.is_some() {
            self.manifest = draft.manifest;
        }
        self.nonce = draft.nonce.unwrap_or(self.nonce);
        self.removed = self.removed.or(draft.removed);
        self.devices.extend(draft.devices);
        self.windows.extend(draft.windows);
        for (name, token) in draft.publishers {
            if let Some(old) = self.publishers.remove(&name) {
                self.tokens.remove(&old.token_hash);
            }
            if let Some(token) = token {
                self.tokens.insert(token.token_hash, token.clone());
                self.publishers.insert(name, token);
            }
        }
    }
}

async fn scan(vfs: &dyn Vfs, project: ProjectId, prefix: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    const PAGE: usize = 1000;
    let (mut all, mut after) = (Vec::new(), Vec::new());
    loop {
        let page = vfs.scan(project, prefix, &after, PAGE).await?;
        let full = page.len() == PAGE;
        if let Some((last, _)) = page.last() {
            after.clone_from(last);
        }
        all.extend(page.into_iter().map(|(_, value)| value));
        if !full {
            return Ok(all);
        }
    }
}

/// The registries of all projects of this node.
#[derive(Default)]
pub(crate) struct Registries(RwLock<Inner>);

#[derive(Default)]
struct Inner {
    by_name: HashMap<ProjectName, ProjectId>,
    images: HashMap<ProjectId, Arc<Image>>,
}

impl fmt::Debug for Registries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.read().by_name.keys()).finish()
    }
}

impl Registries {
    // The lock guards plain data that is whole between statements.
    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a project with its loaded registry.
    pub(crate) fn insert(&self, project: ProjectId, image: Image) {
        let mut inner = self.write();
        if let Some(manifest) = &image.manifest {
            inner.by_name.insert(manifest.name.clone(), project);
        }
        inner.images.insert(project, Arc::new(image));
    }

    /// Takes over what a block has changed.
    pub(crate) fn adopt(&self, project: ProjectId, draft: Draft) {
        let mut inner = self.write();
        if let Some(manifest) = &draft.manifest {
            inner.by_name.insert(manifest.name.clone(), project);
        }
        // The executor has given its handle back, so this changes the image in place.
        Arc::make_mut(inner.images.entry(project).or_default()).adopt(draft);
    }

    /// A project's registry as it is now.
    pub(crate) fn image(&self, project: ProjectId) -> Arc<Image> {
        self.read().images.get(&project).cloned().unwrap_or_default()
    }

    /// Runs `read` on a project's registry.
    pub(crate) fn with<T>(&self, project: ProjectId, read: impl FnOnce(&Image) -> T) -> Option<T> {
        self.read().images.get(&project).map(|image| read(image))
    }

    /// The project that has this name on this node, removed or not.
    pub(crate) fn named(&self, name: &ProjectName) -> Option<ProjectId> {
        self.read().by_name.get(name).copied()
    }
}

impl Registry for Registries {
    fn project(&self, name: &ProjectName) -> Option<ProjectView> {
        let inner = self.read();
        let id = *inner.by_name.get(name)?;
        let image = inner.images.get(&id).filter(|image| image.removed.is_none())?;
        Some(ProjectView { id, manifest: image.manifest.clone()?, members: image.members.clone() })
    }

    fn removed(&self, name: &ProjectName) -> Option<u64> {
        let inner = self.read();
        inner.images.get(inner.by_name.get(name)?)?.removed
    }

    fn projects(&self) -> Vec<ProjectView> {
        let view = |(id, image): (&ProjectId, &Arc<Image>)| {
            let (manifest, members) = (image.manifest.clone()?, image.members.clone());
            Some(ProjectView { id: *id, manifest, members })
        };
        self.read().images.iter().filter(|(_, image)| image.removed.is_none()).filter_map(view).collect()
    }

    fn device(&self, project: ProjectId, did: &Did) -> DeviceStatus {
        let found = self.with(project, |image| image.devices.get(did).cloned());
        found.flatten().unwrap_or(DeviceStatus::Unknown)
    }

    fn token(&self, project: ProjectId, hash: &Digest) -> TokenStatus {
        let found = self.with(project, |image| image.tokens.get(hash).cloned());
        found.flatten().map_or(TokenStatus::Unknown, TokenStatus::Registered)
    }

    fn window(&self, project: ProjectId, did: &Did) -> SequenceWindow {
        self.with(project, |image| image.windows.get(did).cloned()).flatten().unwrap_or_default()
    }
}
