//! The file with accounts, names and numbers. Projects are also held in memory: every event asks for one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use w3bstream_sqlite::rusqlite::{OptionalExtension as _, Row};
use w3bstream_sqlite::{Database, Error, Options, Schema};
use w3bstream_types::{MessageId, ProjectName, PublisherName};

use crate::model::{Project, Sender};

const SCHEMA: Schema = Schema {
    backend: "endpoint-legacy",
    steps: &["CREATE TABLE sequence (next INTEGER NOT NULL) STRICT;
      INSERT INTO sequence (next) VALUES (1000);
      CREATE TABLE account (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, hash TEXT NOT NULL, role TEXT NOT NULL) STRICT;
      CREATE TABLE project (id INTEGER PRIMARY KEY, account INTEGER NOT NULL, label TEXT NOT NULL UNIQUE, body TEXT NOT NULL) STRICT;
      CREATE TABLE publisher (id INTEGER PRIMARY KEY, project INTEGER NOT NULL, label TEXT NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL,
        generation INTEGER NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL, UNIQUE (project, label)) STRICT;
      CREATE TABLE access_key (id INTEGER PRIMARY KEY, account INTEGER NOT NULL, name TEXT NOT NULL, created INTEGER NOT NULL,
        expires INTEGER NOT NULL, UNIQUE (account, name)) STRICT;
      CREATE TABLE task (id TEXT PRIMARY KEY, project INTEGER NOT NULL, message TEXT NOT NULL) STRICT;"],
};

/// Numbers that were set aside.
#[derive(Debug)]
pub(crate) struct Ids(u64);

impl Ids {
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) hash: String,
    /// `ADMIN` or `DEVELOPER`.
    pub(crate) role: String,
}

/// An account's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccessKey {
    pub(crate) id: u64,
    pub(crate) account: u64,
    pub(crate) name: String,
    pub(crate) created: u64,
    /// 0 for never.
    pub(crate) expires: u64,
}

/// The state of this crate.
#[derive(Debug)]
pub(crate) struct Store {
    db: Database,
    projects: RwLock<BTreeMap<u64, Arc<Project>>>,
}

// SQLite's integers have a sign; numbers begin at 1000 and times fit.
const fn int(v: u64) -> i64 {
    v.cast_signed()
}

fn uint(row: &Row<'_>, index: usize) -> Result<u64, w3bstream_sqlite::rusqlite::Error> {
    row.get::<_, i64>(index).map(i64::cast_unsigned)
}

impl Store {
    /// Opens the file, or makes it.
    pub(crate) async fn open(path: &Path) -> Result<Self, Error> {
        let options = Options { readers: 2, ..Options::default() };
        let db = Database::open(path, &SCHEMA, &options)?;
        let bodies: Vec<String> = db
            .read(|tx| {
                let mut statement = tx.prepare("SELECT body FROM project")?;
                let rows = statement.query_map([], |r| r.get(0))?.collect::<Result<_, _>>()?;
                Ok::<_, Error>(rows)
            })
            .await?;
        let mut projects = BTreeMap::new();
        for body in bodies {
            // What this crate has written; a body that cannot be read is of a newer version, which `open` has refused.
            match serde_json::from_str::<Project>(&body) {
                Ok(project) => drop(projects.insert(project.id, Arc::new(project))),
                Err(e) => tracing::error!(error = %e, "a project in {} cannot be read", path.display()),
            }
        }
        Ok(Self { db, projects: RwLock::new(projects) })
    }

    pub(crate) async fn close(&self) {
        self.db.close().await;
    }

    /// Sets numbers aside.
    pub(crate) async fn ids(&self, count: u64) -> Result<Ids, Error> {
        let job = move |tx: &w3bstream_sqlite::rusqlite::Transaction<'_>| {
            let sql = "UPDATE sequence SET next = next + ?1 RETURNING next - ?1";
            Ok::<_, Error>(Ids(tx.query_row(sql, [int(count)], |r| uint(r, 0))?))
        };
        self.db.write(16, job).await
    }

    fn cached(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<u64, Arc<Project>>> {
        // Every critical section leaves the map whole.
        self.projects.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn projects(&self) -> Vec<Arc<Project>> {
        self.cached().values().cloned().collect()
    }

    pub(crate) fn project(&self, id: u64) -> Option<Arc<Project>> {
        self.cached().get(&id).cloned()
    }

    pub(crate) fn named(&self, label: &ProjectName) -> Option<Arc<Project>> {
        self.cached().values().find(|p| p.label == *label).cloned()
    }

    /// Writes a project as it is now.
    pub(crate) async fn save(&self, project: Project) -> Result<Arc<Project>, Error> {
        let body = serde_json::to_string(&project).unwrap_or_default();
        let (id, account, label) = (int(project.id), int(project.account), project.label.to_string());
        self.db
            .write(body.len(), move |tx| {
                let sql = "INSERT INTO project (id, account, label, body) VALUES (?1, ?2, ?3, ?4)
                    ON CONFLICT (id) DO UPDATE SET body = ?4";
                tx.prepare_cached(sql)?.execute((id, account, label, body))?;
                Ok::<_, Error>(())
            })
            .await?;
        let project = Arc::new(project);
        let mut all = self.projects.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(project.id, project.clone());
        Ok(project)
    }

    /// Forgets a project and its publishers.
    pub(crate) async fn remove(&self, project: u64) -> Result<(), Error> {
        self.db
            .write(64, move |tx| {
                for sql in ["DELETE FROM project WHERE id = ?1", "DELETE FROM publisher WHERE project = ?1"] {
                    tx.execute(sql, [int(project)])?;
                }
                Ok::<_, Error>(())
            })
            .await?;
        self.projects.write().unwrap_or_else(PoisonError::into_inner).remove(&project);
        Ok(())
    }

    pub(crate) async fn account(&self, name: &str) -> Result<Option<Account>, Error> {
        let name = name.to_owned();
        let sql = "SELECT id, name, hash, role FROM account WHERE name = ?1";
        self.db.read(move |tx| Ok(tx.query_row(sql, [name], account).optional()?)).await
    }

    pub(crate) async fn account_by_id(&self, id: u64) -> Result<Option<Account>, Error> {
        let sql = "SELECT id, name, hash, role FROM account WHERE id = ?1";
        self.db.read(move |tx| Ok(tx.query_row(sql, [int(id)], account).optional()?)).await
    }

    /// Adds an account, or replaces its password.
    pub(crate) async fn put_account(&self, a: Account) -> Result<(), Error> {
        self.db
            .write(256, move |tx| {
                let sql = "INSERT INTO account (id, name, hash, role) VALUES (?1, ?2, ?3, ?4)
                    ON CONFLICT (id) DO UPDATE SET hash = ?3";
                tx.execute(sql, (int(a.id), a.name, a.hash, a.role))?;
                Ok(())
            })
            .await
    }

    pub(crate) async fn senders(&self, project: u64) -> Result<Vec<Sender>, Error> {
        self.db
            .read(move |tx| {
                let mut statement = tx.prepare_cached(&format!("{SENDER} WHERE project = ?1 ORDER BY id"))?;
                let rows = statement.query_map([int(project)], sender)?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    pub(crate) async fn sender(&self, project: u64, label: &PublisherName) -> Result<Option<Sender>, Error> {
        let label = label.to_string();
        self.db
            .read(move |tx| {
                let sql = format!("{SENDER} WHERE project = ?1 AND label = ?2");
                Ok(tx.prepare_cached(&sql)?.query_row((int(project), label), sender).optional()?)
            })
            .await
    }

    pub(crate) async fn sender_by_id(&self, id: u64) -> Result<Option<(u64, Sender)>, Error> {
        self.db
            .read(move |tx| {
                let sql = format!("{SENDER} WHERE id = ?1");
                let row = |r: &Row<'_>| Ok((uint(r, 6)?, sender(r)?));
                Ok(tx.query_row(&sql, [int(id)], row).optional()?)
            })
            .await
    }

    /// Adds a publisher, or changes its name and token.
    pub(crate) async fn put_sender(
        &self,
        project: u64,
        label: PublisherName,
        s: Sender,
    ) -> Result<(), Error> {
        self.db
            .write(256, move |tx| {
                let sql =
                    "INSERT INTO publisher (id, project, label, key, name, generation, created, updated)
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                    ON CONFLICT (id) DO UPDATE SET name = ?5, generation = ?6, updated = ?8";
                let (id, project, generation) = (int(s.id), int(project), int(s.generation));
                let row = (
                    id,
                    project,
                    label.to_string(),
                    s.key,
                    s.name,
                    generation,
                    int(s.created),
                    int(s.updated),
                );
                tx.prepare_cached(sql)?.execute(row)?;
                Ok(())
            })
            .await
    }

    pub(crate) async fn remove_sender(&self, id: u64) -> Result<(), Error> {
        self.db
            .write(16, move |tx| {
                tx.execute("DELETE FROM publisher WHERE id = ?1", [int(id)])?;
                Ok(())
            })
            .await
    }

    pub(crate) async fn keys(&self, account: u64) -> Result<Vec<AccessKey>, Error> {
        self.db
            .read(move |tx| {
                let mut statement = tx.prepare(&format!("{KEY} WHERE account = ?1 ORDER BY id"))?;
                let rows = statement.query_map([int(account)], access_key)?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    pub(crate) async fn key(&self, id: u64) -> Result<Option<AccessKey>, Error> {
        let sql = format!("{KEY} WHERE id = ?1");
        self.db.read(move |tx| Ok(tx.query_row(&sql, [int(id)], access_key).optional()?)).await
    }

    pub(crate) async fn put_key(&self, k: AccessKey) -> Result<(), Error> {
        self.db
            .write(128, move |tx| {
                let sql = "INSERT INTO access_key (id, account, name, created, expires) VALUES (?1, ?2, ?3, ?4, ?5)";
                tx.execute(sql, (int(k.id), int(k.account), k.name, int(k.created), int(k.expires)))?;
                Ok(())
            })
            .await
    }

    pub(crate) async fn remove_key(&self, account: u64, name: String) -> Result<bool, Error> {
        self.db
            .write(64, move |tx| {
                let sql = "DELETE FROM access_key WHERE account = ?1 AND name = ?2";
                Ok(tx.execute(sql, (int(account), name))? > 0)
            })
            .await
    }

    /// Notes which message a task is. The same task again is the same message.
    pub(crate) async fn put_task(&self, id: String, project: u64, message: MessageId) -> Result<(), Error> {
        self.db
            .write(192, move |tx| {
                let sql =
                    "INSERT INTO task (id, project, message) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
                tx.prepare_cached(sql)?.execute((id, int(project), message.to_string()))?;
                Ok(())
            })
            .await
    }

    pub(crate) async fn task(&self, id: String) -> Result<Option<(u64, MessageId)>, Error> {
        let row: Option<(u64, String)> = self
            .db
            .read(move |tx| {
                let sql = "SELECT project, message FROM task WHERE id = ?1";
                let row = |r: &Row<'_>| Ok((uint(r, 0)?, r.get(1)?));
                Ok::<_, Error>(tx.prepare_cached(sql)?.query_row([id], row).optional()?)
            })
            .await?;
        Ok(row.and_then(|(project, message)| Some((project, message.parse().ok()?))))
    }
}

const SENDER: &str = "SELECT id, key, name, generation, created, updated, project FROM publisher";
const KEY: &str = "SELECT id, account, name, created, expires FROM access_key";

type Found<T> = Result<T, w3bstream_sqlite::rusqlite::Error>;

fn sender(r: &Row<'_>) -> Found<Sender> {
    let (id, generation, created, updated) = (uint(r, 0)?, uint(r, 3)?, uint(r, 4)?, uint(r, 5)?);
    Ok(Sender { id, key: r.get(1)?, name: r.get(2)?, generation, created, updated })
}

fn access_key(r: &Row<'_>) -> Found<AccessKey> {
    let (id, account, created, expires) = (uint(r, 0)?, uint(r, 1)?, uint(r, 3)?, uint(r, 4)?);
    Ok(AccessKey { id, account, name: r.get(2)?, created, expires })
}

fn account(r: &Row<'_>) -> Found<Account> {
    Ok(Account { id: uint(r, 0)?, name: r.get(1)?, hash: r.get(2)?, role: r.get(3)? })
}
