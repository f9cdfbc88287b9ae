//! Changes to projects and publishers: the node first, then what is kept here.

use std::sync::Arc;

use w3bstream_types::{Control, PublisherName, TokenRegistration, token_hash};
use w3bstream_wire::legacy::{Channel, publisher_of};

use crate::endpoint::Shared;
use crate::error::ApiError;
use crate::model::{Project, Sender};
use crate::store::Account;

impl Shared {
    /// A project that an account may change, by its name, its channel or its number.
    pub(crate) fn own(&self, account: &Account, name: &str) -> Result<Arc<Project>, ApiError> {
        let by_number = || name.parse().ok().and_then(|id| self.store.project(id));
        let by_name = || Channel::parse(name).ok().and_then(|c| self.store.named(&c.project));
        let found = by_name().or_else(by_number).filter(|p| may(account, p));
        found.ok_or_else(|| ApiError::not_found("ProjectNotFound", format!("you have no project {name:?}")))
    }

    /// The project of an applet, instance or strategy that `of` recognises.
    pub(crate) fn find<T>(
        &self,
        account: &Account,
        of: impl Fn(&Project) -> Option<T>,
    ) -> Option<(Arc<Project>, T)> {
        let all = self.store.projects().into_iter().filter(|p| may(account, p));
        all.into_iter().find_map(|p| of(&p).map(|found| (p.clone(), found)))
    }

    /// Changes a project: deploys it if what runs becomes different, and keeps it.
    pub(crate) async fn change(
        &self,
        id: u64,
        edit: impl FnOnce(&mut Project) -> Result<(), ApiError>,
    ) -> Result<Arc<Project>, ApiError> {
        let _one = self.changes.lock().await;
        let gone = || ApiError::not_found("ProjectNotFound", "the project was deleted meanwhile");
        let before = self.store.project(id).ok_or_else(gone)?;
        let mut after = Project::clone(&before);
        edit(&mut after)?;
        after.updated = self.clock.now().millis();
        let plan = after.plan()?;
        if before.plan().ok().as_ref() != Some(&plan) {
            self.backend.deploy(after.account, plan).await?;
        }
        Ok(self.store.save(after).await?)
    }

    /// The token that a publisher has now.
    pub(crate) fn token(&self, project: &Project, sender: &Sender) -> Result<String, ApiError> {
        let publisher = publisher_of(&sender.key)?;
        Ok(self.secrets.token(&project.label, &publisher, sender.generation))
    }

    /// The publisher with this key; made, and its token registered, if there is none. Says whether it was made.
    pub(crate) async fn publisher(
        &self,
        project: &Project,
        (key, name): (&str, &str),
    ) -> Result<(Sender, bool), ApiError> {
        let label = publisher_of(key)?;
        if let Some(found) = self.store.sender(project.id, &label).await? {
            return Ok((found, false));
        }
        let _one = self.changes.lock().await;
        if let Some(found) = self.store.sender(project.id, &label).await? {
            return Ok((found, false));
        }
        let now = self.clock.now().millis();
        let id = self.store.ids(1).await?.next();
        let (key, name) = (key.to_owned(), name.to_owned());
        // A publisher that comes again after it was deleted must not have its old token.
        let made = Sender { id, key, name, generation: id, created: now, updated: now };
        self.register(project, &label, &made).await?;
        self.store.put_sender(project.id, label, made.clone()).await?;
        Ok((made, true))
    }

    async fn register(
        &self,
        project: &Project,
        publisher: &PublisherName,
        sender: &Sender,
    ) -> Result<(), ApiError> {
        let token = self.secrets.token(&project.label, publisher, sender.generation);
        let (publisher, event_types) = (publisher.clone(), Vec::new());
        let change = Control::RegisterToken(TokenRegistration {
            publisher,
            token_hash: token_hash(&token),
            event_types,
        });
        Ok(self.backend.change(project.account, &project.label, change).await?)
    }

    /// Takes a publisher's token away.
    pub(crate) async fn revoke(&self, project: &Project, sender: &Sender) -> Result<(), ApiError> {
        let _one = self.changes.lock().await;
        let change = Control::RevokeToken(publisher_of(&sender.key)?);
        self.backend.change(project.account, &project.label, change).await?;
        Ok(self.store.remove_sender(sender.id).await?)
    }

    /// Deletes a project: nobody may send to it any more, nothing of it runs. Its record stays on the node.
    pub(crate) async fn delete(&self, project: &Project) -> Result<(), ApiError> {
        for sender in self.store.senders(project.id).await? {
            self.revoke(project, &sender).await?;
        }
        let _one = self.changes.lock().await;
        let (env, applets) = (Vec::new(), Vec::new());
        let project_name = project.label.clone();
        let (database, triggers) = (None, Vec::new());
        let plan =
            crate::Plan { project: project_name, env, applets, database, triggers, new: false, open: false };
        self.backend.deploy(project.account, plan).await?;
        Ok(self.store.remove(project.id).await?)
    }
}

fn may(account: &Account, project: &Project) -> bool {
    project.account == account.id
}
