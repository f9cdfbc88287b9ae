//! What is kept of a project, and what becomes of it: a plan to deploy, and the original's JSON.

use std::collections::HashMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use w3bstream_types::{
    Applet, AppletName, CronTrigger, Digest, GuestLimits, Malformed, Missed, Partition, ProjectName, Route,
    Trigger, TriggerOn,
};
use w3bstream_wire::legacy::{Channel, event_type_of, fold_name};

use crate::{Plan, store::Ids};

/// Triggers of cron jobs are named by this and their number.
pub const CRON: &str = "legacy-cron-";

/// One project.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Project {
    pub(crate) id: u64,
    pub(crate) account: u64,
    /// As its owner wrote it.
    pub(crate) name: String,
    /// As the node has it.
    pub(crate) label: ProjectName,
    pub(crate) version: String,
    pub(crate) description: String,
    pub(crate) created: u64,
    pub(crate) updated: u64,
    /// As the owner ordered it.
    pub(crate) env: Vec<(String, String)>,
    /// As its owner wrote it.
    pub(crate) database: Option<Value>,
    /// Members of a task's payload that its device signs too.
    pub(crate) signed_keys: Vec<String>,
    pub(crate) applets: Vec<Module>,
    #[serde(default)]
    pub(crate) crons: Vec<CronJob>,
}

/// A schedule whose moments are events.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CronJob {
    pub(crate) id: u64,
    pub(crate) event_type: String,
    /// As its owner wrote it.
    pub(crate) schedule: String,
    pub(crate) created: u64,
}

/// One applet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Module {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) label: AppletName,
    pub(crate) wasm_name: String,
    pub(crate) md5: String,
    pub(crate) program: Digest,
    pub(crate) resource: u64,
    pub(crate) created: u64,
    pub(crate) updated: u64,
    pub(crate) instance: Option<Instance>,
    pub(crate) strategies: Vec<Strategy>,
}

/// A deployed applet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Instance {
    pub(crate) id: u64,
    pub(crate) state: State,
}

/// Whether an instance gets events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum State {
    Created,
    Started,
    Stopped,
}

/// Which event type reaches which exported function.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Strategy {
    pub(crate) id: u64,
    pub(crate) event_type: String,
    pub(crate) handler: String,
}

/// What else an object has. A struct with it is read from objects alone: serde would also take a list of its members.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Rest(#[expect(dead_code, reason = "it is there to be read")] HashMap<String, IgnoredAny>);

/// A strategy as clients send it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StrategyInfo {
    #[serde(default)]
    pub(crate) event_type: String,
    pub(crate) handler: String,
    #[serde(flatten)]
    pub(crate) _rest: Rest,
}

/// A publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    pub(crate) id: u64,
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) generation: u64,
    pub(crate) created: u64,
    pub(crate) updated: u64,
}

/// The time as the original wrote it.
pub(crate) fn rfc3339(millis: u64) -> String {
    let at = i64::try_from(millis).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.unwrap_or_default().to_string()
}

impl Strategy {
    /// Strategies from what a client sent: `DEFAULT` to `start` if it sent none.
    pub(crate) fn all(sent: Vec<StrategyInfo>, ids: &mut Ids) -> Vec<Self> {
        let default = || {
            vec![StrategyInfo { event_type: String::new(), handler: "start".into(), _rest: Rest::default() }]
        };
        let sent = if sent.is_empty() { default() } else { sent };
        sent.into_iter().map(|info| Self::new(info, ids)).collect()
    }

    pub(crate) fn new(info: StrategyInfo, ids: &mut Ids) -> Self {
        let event_type = if info.event_type.is_empty() { "DEFAULT".to_owned() } else { info.event_type };
        Self { id: ids.next(), event_type, handler: info.handler }
    }

    pub(crate) fn json(&self, project: &Project, applet: &Module) -> Value {
        json!({
            "strategyID": self.id.to_string(), "projectID": project.id.to_string(),
            "appletID": applet.id.to_string(), "appletName": applet.name, "projectName": project.name,
            "eventType": self.event_type, "handler": self.handler,
            "createdAt": rfc3339(applet.updated), "updatedAt": rfc3339(applet.updated),
        })
    }
}

impl CronJob {
    pub(crate) fn json(&self, project: &Project) -> Value {
        json!({
            "cronJobID": self.id.to_string(), "projectID": project.id.to_string(), "eventType": self.event_type,
            "cronExpressions": self.schedule, "createdAt": rfc3339(self.created), "updatedAt": rfc3339(self.created),
        })
    }

    /// What the node watches. As in the original, moments of a downtime are not told.
    fn trigger(&self) -> Result<Trigger, Malformed> {
        let on = CronTrigger { schedule: self.schedule.clone(), missed: Missed::None };
        let (name, event_type) = (format!("{CRON}{}", self.id).parse()?, event_type_of(&self.event_type)?);
        Ok(Trigger { name, event_type, on: TriggerOn::Cron(on) })
    }
}

impl Instance {
    pub(crate) fn json(&self, applet: u64) -> Value {
        json!({ "instanceID": self.id.to_string(), "appletID": applet.to_string(), "state": self.state })
    }
}

impl Module {
    pub(crate) fn json(&self, project: u64) -> Value {
        json!({
            "appletID": self.id.to_string(), "projectID": project.to_string(), "name": self.name,
            "resourceID": self.resource.to_string(), "wasmName": self.wasm_name, "md5": self.md5,
            "program": self.program, "createdAt": rfc3339(self.created), "updatedAt": rfc3339(self.updated),
        })
    }

    /// As upload and update answer: with instance and strategies.
    pub(crate) fn detail(&self, project: &Project) -> Value {
        let mut out = self.json(project.id);
        out["instance"] = self.instance.as_ref().map_or(Value::Null, |i| i.json(self.id));
        out["strategies"] = self.strategies.iter().map(|s| s.json(project, self)).collect();
        out
    }

    fn routes(&self) -> Result<Vec<Route>, Malformed> {
        let route = |s: &Strategy| {
            Ok(Route { event_type: event_type_of(&s.event_type)?, handler: s.handler.clone() })
        };
        self.strategies.iter().map(route).collect()
    }

    fn runs(&self) -> bool {
        self.instance.as_ref().is_some_and(|i| i.state == State::Started) && !self.strategies.is_empty()
    }
}

impl Project {
    /// What is deployed.
    ///
    /// # Errors
    /// [`Malformed`] naming two event types that a node cannot tell apart.
    pub(crate) fn plan(&self) -> Result<Plan, Malformed> {
        self.check_types()?;
        let mut env = self.env.clone();
        env.sort();
        let applet = |m: &Module| {
            let (name, program) = (m.label.clone(), m.program);
            Ok(Applet {
                name,
                program,
                routes: m.routes()?,
                limits: GuestLimits::default(),
                partition: Partition::None,
            })
        };
        let applets: Result<_, Malformed> = self.applets.iter().filter(|m| m.runs()).map(applet).collect();
        let database = self.database.as_ref().map(crate::database::read).transpose()?.flatten();
        let triggers = self.crons.iter().map(CronJob::trigger).collect::<Result<_, _>>()?;
        let project = self.label.clone();
        Ok(Plan { project, env, applets: applets?, database, triggers, new: false, open: true })
    }

    /// The original told `A` from `a`; a node does not.
    fn check_types(&self) -> Result<(), Malformed> {
        let mut seen: Vec<(String, &str)> = Vec::new();
        let strategies = self.applets.iter().flat_map(|m| &m.strategies).map(|s| s.event_type.as_str());
        for given in strategies.chain(self.crons.iter().map(|c| c.event_type.as_str())) {
            let folded = fold_name(given);
            if let Some((_, other)) = seen.iter().find(|(f, g)| *f == folded && *g != given) {
                let why = format!("{given:?} and {other:?} are both {folded:?} on this node; rename one");
                return Err(Malformed::new("event type", why));
            }
            seen.push((folded, given));
        }
        Ok(())
    }

    pub(crate) fn applet(&self, id: u64) -> Option<&Module> {
        self.applets.iter().find(|m| m.id == id)
    }

    /// How many handlers an event type reaches.
    pub(crate) fn handlers(&self, event_type: &str) -> usize {
        let of = |wanted: &str| -> usize {
            let running = self.applets.iter().filter(|m| m.runs()).flat_map(|m| &m.strategies);
            running.filter(|s| fold_name(&s.event_type) == wanted).count()
        };
        match of(event_type) {
            0 => of("default"),
            n => n,
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "projectID": self.id.to_string(), "accountID": self.account.to_string(), "name": self.name,
            "channel": Channel::of_account(self.account, &self.name), "nodeProject": self.label,
            "version": self.version, "description": self.description, "proto": "MQTT",
            "createdAt": rfc3339(self.created), "updatedAt": rfc3339(self.updated),
        })
    }

    pub(crate) fn detail(&self) -> Value {
        let applets: Vec<Value> = self.applets.iter().map(|m| m.detail(self)).collect();
        json!({ "projectID": self.id.to_string(), "projectName": self.name, "applets": applets })
    }

    pub(crate) fn env_json(&self) -> Value {
        json!({ "env": self.env })
    }
}

impl Sender {
    pub(crate) fn json(&self, project: &Project, token: &str) -> Value {
        json!({
            "publisherID": self.id.to_string(), "projectID": project.id.to_string(),
            "projectName": project.name, "name": self.name, "key": self.key, "token": token,
            "createdAt": rfc3339(self.created), "updatedAt": rfc3339(self.updated),
        })
    }
}
