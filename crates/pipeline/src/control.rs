//! What owners do: deploy, register, revoke.

use std::sync::atomic::Ordering;

use w3bstream_journal::Write;
use w3bstream_types::{
    Applet, Canonical, Control, ControlTx, Digest, Manifest, OutputKind, ProjectId, ProjectName, SqlBudget,
    SqlRefusal, SqlRows, SqlStatement,
};

use crate::{Error, ErrorKind, Pipeline};

fn refused(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Refused, why)
}

/// What became of a control transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlOutcome {
    /// Its id.
    pub id: Digest,
    /// The height of its block.
    pub height: u64,
}

impl Pipeline {
    /// Keeps a program, after checking that it loads. Gives its digest.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] naming what is wrong with the module.
    pub async fn put_program(&self, bytes: Vec<u8>) -> Result<Digest, Error> {
        let (engine, module) = (self.0.parts.engine.clone(), bytes.clone());
        let load = move || engine.load(&module).map(|_| ());
        let loaded = tokio::task::spawn_blocking(load).await;
        loaded.map_err(|_| Error::new(ErrorKind::Fatal, "loading a program panicked"))??;
        Ok(self.0.parts.vfs.put_program(bytes).await?)
    }

    /// Keeps a file of a circuit, which settlements name by its digest. It is not looked into before it is used.
    ///
    /// # Errors
    /// [`Error`] if it cannot be stored.
    pub async fn put_circuit(&self, bytes: Vec<u8>) -> Result<Digest, Error> {
        Ok(self.0.parts.vfs.put_program(bytes).await?)
    }

    /// Lifts a project's halt: when the node starts next, the project goes on with what it stopped at. Gives why it is halted;
    /// until then it still is.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] if it is not halted; [`Error`] if that cannot be stored.
    pub async fn lift_halt(&self, project: ProjectId) -> Result<String, Error> {
        let halted = self.0.project(project).and_then(|p| p.halt_reason());
        let why = halted.ok_or_else(|| refused("the project is not halted"))?;
        self.0.parts.journal.commit(vec![Write::Halt(project, String::new())]).await?;
        Ok(why)
    }

    /// The nonce that the next control transaction of a project must have.
    ///
    /// # Errors
    /// [`Error`] if the journal cannot be read.
    pub async fn next_nonce(&self, project: ProjectId) -> Result<u64, Error> {
        let applied = self.0.registries.with(project, |image| image.nonce).unwrap_or_default();
        let pending = self.0.parts.journal.pending_controls(project, usize::MAX >> 1).await?;
        let last = pending.last().map_or(applied, |tx| tx.nonce.max(applied));
        // Between its block and its application a transaction is neither pending nor applied.
        Ok(last.max(self.ordered_nonce(project).await?) + 1)
    }

    async fn ordered_nonce(&self, project: ProjectId) -> Result<u64, Error> {
        let Some(p) = self.0.project(project) else { return Ok(0) };
        let (applied, journaled) = (*p.applied.borrow(), *p.journaled.borrow());
        let mut highest = 0;
        for height in applied + 1..=journaled {
            let Some(block) = self.0.parts.journal.block(project, height).await? else { continue };
            for entry in block.block.entries() {
                if let w3bstream_types::Entry::Control(id) = entry
                    && let Some(tx) = self.0.parts.journal.control(*id).await?
                {
                    highest = highest.max(tx.nonce);
                }
            }
        }
        Ok(highest)
    }

    /// Takes a control transaction, orders it and waits until it is applied. The first `Deploy` of a
    /// project makes its subnet.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] with the reason; nothing was changed then, or the change was ordered and the
    /// replicated rules refused it.
    pub async fn submit(&self, tx: ControlTx) -> Result<ControlOutcome, Error> {
        let id = tx.id();
        let (project, from) = {
            let _one_at_a_time = self.0.control.lock().await;
            self.check(&tx).await?;
            let known = self.0.project(tx.project);
            let from = known.as_ref().map_or(1, |p| *p.applied.borrow() + 1);
            let mut batch = Vec::new();
            if known.is_none() {
                batch.push(Write::Genesis(Box::new(self.new_genesis(tx.project)?)));
            }
            let (project_id, name) = (tx.project, deployed_name(&tx));
            let removes = matches!(tx.change, Control::Remove);
            batch.push(Write::Control(Box::new(tx)));
            let genesis = batch.iter().find_map(|w| match w {
                Write::Genesis(genesis) => Some((**genesis).clone()),
                _ => None,
            });
            self.0.parts.journal.commit(batch).await?;
            if removes && let Some(project) = &known {
                project.leaving.store(true, Ordering::Release);
            }
            let project = match (known, genesis) {
                (Some(project), _) => project,
                (None, Some(genesis)) => self.start_project(genesis, name).await?,
                (None, None) => return Err(refused(format!("there is no project {project_id}"))),
            };
            (project, from)
        };
        project.arrived.notify_one();
        self.await_control(&project, id, from).await
    }

    async fn await_control(
        &self,
        project: &crate::project::Project,
        id: Digest,
        from: u64,
    ) -> Result<ControlOutcome, Error> {
        let mut applied = project.applied.subscribe();
        let mut halted = project.halted.subscribe();
        let mut next = from;
        loop {
            let height = *applied.borrow_and_update();
            for h in next..=height {
                if let Some(outcome) = self.outcome_at(project.id, h, id).await? {
                    return outcome;
                }
            }
            next = height + 1;
            tokio::select! {
                changed = applied.changed() => changed.map_err(|_| stopping())?,
                reason = halted.wait_for(Option::is_some) => {
                    let reason = reason.ok().and_then(|r| r.clone()).unwrap_or_default();
                    return Err(Error::new(ErrorKind::Halted, format!("the project is halted: {reason}")));
                }
                () = self.0.stages.shutdown().requested_owned() => return Err(stopping()),
            }
        }
    }

    async fn outcome_at(
        &self,
        project: ProjectId,
        height: u64,
        id: Digest,
    ) -> Result<Option<Result<ControlOutcome, Error>>, Error> {
        let Some((_, _, outputs)) = self.0.parts.vfs.result(project, height).await? else { return Ok(None) };
        let mine = |o: &&w3bstream_types::Output| o.kind == OutputKind::Control && o.target == id.as_bytes();
        Ok(outputs.iter().find(mine).map(|output| {
            if output.data.is_empty() {
                return Ok(ControlOutcome { id, height });
            }
            Err(refused(String::from_utf8_lossy(&output.data)))
        }))
    }

    /// What can be said of a transaction before it is ordered, so that its owner hears it at once.
    async fn check(&self, tx: &ControlTx) -> Result<(), Error> {
        let manifest = self.0.manifest(tx.project);
        let owner = match (&manifest, &tx.change) {
            (Some(m), _) => m.owner.clone(),
            (None, Control::Deploy(m)) => m.owner.clone(),
            (None, _) => {
                let why = format!("this node serves no project {}; deploy it first", tx.project);
                return Err(Error::new(ErrorKind::NotFound, why));
            }
        };
        let key = owner.embedded_key().map_err(|e| refused(e.to_string()))?;
        self.0.check_not_removed(tx.project)?;
        tx.verify(&key).map_err(|e| refused(format!("{e}: it must be signed by the owner, {owner}")))?;
        let nonce = self.next_nonce(tx.project).await?;
        if tx.nonce != nonce {
            return Err(refused(format!("nonce {} is not the next one, {nonce}", tx.nonce)));
        }
        if let Control::Deploy(next) = &tx.change {
            self.check_manifest(tx.project, next).await?;
        }
        Ok(())
    }

    async fn check_manifest(&self, project: ProjectId, next: &Manifest) -> Result<(), Error> {
        if next.project() != project {
            return Err(refused("the manifest's owner and name are not those of the project id"));
        }
        next.check().map_err(|e| refused(e.to_string()))?;
        if let Some(holder) = self.0.registries.named(&next.name)
            && holder != project
        {
            return Err(refused(crate::removal::name_is_taken(&self.0, &next.name, holder)));
        }
        // Decoding must give it back, or no node could read the block.
        Manifest::from_canonical(&next.to_canonical()).map_err(|e| refused(e.to_string()))?;
        if let Some(id) = crate::reading::missing_chains(&self.0, next).first() {
            return Err(refused(crate::chains::unknown(*id)));
        }
        for settlement in &next.settlements {
            let Some(rule) = &settlement.proof else { continue };
            for (what, digest) in [("witness program", rule.witness), ("key", rule.key)] {
                self.0.parts.vfs.program(digest).await.map_err(|e| {
                    let why =
                        format!("settlement {}: upload the circuit's {what} {digest} first", settlement.name);
                    refused(why).with_source(e)
                })?;
            }
        }
        let manifest = self.0.manifest(project);
        if let Some(before) = &manifest {
            next.keeps_partitions(before).map_err(|e| refused(e.to_string()))?;
        }
        let before = manifest.as_ref().and_then(|m| m.database.as_ref());
        crate::apply::follows(before, next.database.as_ref()).map_err(refused)?;
        if next.database.is_some() && before.is_none() {
            // Whether this node can have one at all.
            self.0.parts.vfs.sql(project).await.map_err(|e| refused(e.to_string()))?;
        }
        for applet in &next.applets {
            self.check_applet(applet).await?;
        }
        crate::trigger::check_schedules(next)
    }

    /// Whether an applet's program is there, loads, and does what the manifest says of it.
    async fn check_applet(&self, applet: &Applet) -> Result<(), Error> {
        let program = self
            .0
            .parts
            .vfs
            .program(applet.program)
            .await
            .map_err(|e| refused(format!("applet {}: upload its program first: {e}", applet.name)))?;
        let engine = self.0.parts.engine.clone();
        let module = tokio::task::spawn_blocking(move || engine.load(&program)).await;
        let module = module.map_err(|_| Error::new(ErrorKind::Fatal, "loading a program panicked"))??;
        if !applet.partition.is_none() && module.uses().database {
            let name = &applet.name;
            return Err(refused(format!(
                "applet {name} has partition = \"device\", and its module imports ws_set_sql_db or ws_get_sql_db: \
                 statements run in the order of the messages, so they cannot be split by device; take the line \
                 `partition = \"device\"` of {name} away, or keep its data with ws_set_db"
            )));
        }
        let handlers = module.handlers();
        if let Some(route) = applet.routes.iter().find(|r| !handlers.contains(&r.handler)) {
            let (name, wanted) = (&applet.name, &route.handler);
            return Err(refused(format!(
                "applet {name} exports no handler {wanted:?}; it exports {}",
                handlers.join(", ")
            )));
        }
        Ok(())
    }

    /// Runs a statement that only reads on a project's database, as of its last applied block.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] with what is wrong with the statement; [`ErrorKind::NotFound`] if there is no database.
    pub async fn sql(&self, project: ProjectId, text: String) -> Result<SqlRows, Error> {
        // Nobody pays for it, and it must not hold a thread for ever.
        let budget =
            SqlBudget { gas: 5_000_000_000, step: 50, result_bytes: 4 * 1024 * 1024, ..SqlBudget::UNLIMITED };
        let statement = SqlStatement { text, params: vec![] };
        let outcome = self.0.parts.vfs.sql_read(project, statement, budget).await?;
        outcome.result.map_err(|e| match e {
            SqlRefusal::NoDatabase => Error::new(
                ErrorKind::NotFound,
                "the project has no database; declare one in [database] of its manifest",
            ),
            SqlRefusal::OutOfGas => refused("it takes too long; ask for less, or by an indexed column"),
            SqlRefusal::TooMuch => refused("more than 4 MiB of rows; add LIMIT"),
            SqlRefusal::Refused(why) => refused(why),
        })
    }

    /// The id of the project with this name on this node.
    #[must_use]
    pub fn project_id(&self, name: &ProjectName) -> Option<ProjectId> {
        self.0.registries.named(name)
    }
}

fn stopping() -> Error {
    Error::new(ErrorKind::ShuttingDown, "the node is stopping; the change may still be applied")
}

fn deployed_name(tx: &ControlTx) -> Option<ProjectName> {
    match &tx.change {
        Control::Deploy(manifest) => Some(manifest.name.clone()),
        _ => None,
    }
}
