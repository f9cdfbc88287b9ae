//! A project's manifest: what its owner signs when it is deployed.
//!
//! People write `w3bstream.toml`; the command line reads it into this type, and the owner signs its
//! canonical bytes inside a control transaction.

use serde::{Deserialize, Serialize};

use crate::{
    AckMode, AppletName, Canonical, ChainRule, Database, Decoder, Did, Digest, Encoder, EventType,
    MAX_PAYLOAD_BYTES, Malformed, ProjectId, ProjectName, Settlement, Trigger, TriggerMessage, TriggerName,
};

/// The most applets in a project.
pub const MAX_APPLETS: usize = 256;
/// The most routes of an applet.
pub const MAX_ROUTES: usize = 256;

/// Limits of one handler call. An operator's own table caps each. Those of events are of the message: a call may send
/// one as long as all that follows from the message stays within its own limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct GuestLimits {
    /// Gas for one call: about one unit per WebAssembly instruction, host calls by weight.
    pub gas: u64,
    /// Linear memory, in bytes, rounded down to pages of 64 KiB.
    pub memory_bytes: u64,
    /// Elements in all tables together.
    pub table_elements: u64,
    /// Stack: value slots of 8 bytes, locals included, over all frames.
    pub stack_slots: u64,
    /// Bytes that one call may write to the log.
    pub log_bytes: u64,
    /// Bytes of outputs (MQTT messages and the like) of one call.
    pub output_bytes: u64,
    /// Bytes of keys and values that one call may write.
    pub kv_bytes: u64,
    /// Host calls in one handler call.
    pub host_calls: u64,
    /// Bytes of SQL statements, their parameters and the rows that they give, in one call.
    pub sql_bytes: u64,
    /// Events that handlers of one message may send, all that follow from it together.
    pub events: u64,
    /// Bytes of their types and payloads, together.
    pub event_bytes: u64,
    /// How many events may follow from each other.
    pub event_depth: u64,
}

impl Default for GuestLimits {
    fn default() -> Self {
        Self {
            gas: 100_000_000,
            memory_bytes: 16 * 1024 * 1024,
            table_elements: 10_000,
            stack_slots: 64 * 1024,
            log_bytes: 16 * 1024,
            output_bytes: 256 * 1024,
            kv_bytes: 1024 * 1024,
            host_calls: 10_000,
            sql_bytes: 1024 * 1024,
            events: 64,
            event_bytes: 256 * 1024,
            event_depth: 8,
        }
    }
}

impl GuestLimits {
    /// Each limit is the smaller of the two.
    #[must_use]
    pub fn capped_by(self, cap: &Self) -> Self {
        Self {
            gas: self.gas.min(cap.gas),
            memory_bytes: self.memory_bytes.min(cap.memory_bytes),
            table_elements: self.table_elements.min(cap.table_elements),
            stack_slots: self.stack_slots.min(cap.stack_slots),
            log_bytes: self.log_bytes.min(cap.log_bytes),
            output_bytes: self.output_bytes.min(cap.output_bytes),
            kv_bytes: self.kv_bytes.min(cap.kv_bytes),
            host_calls: self.host_calls.min(cap.host_calls),
            sql_bytes: self.sql_bytes.min(cap.sql_bytes),
            events: self.events.min(cap.events),
            event_bytes: self.event_bytes.min(cap.event_bytes),
            event_depth: self.event_depth.min(cap.event_depth),
        }
    }
}

impl Canonical for GuestLimits {
    const DOMAIN: &'static str = "w3b/limits";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 12;

    fn encode_fields(&self, e: &mut Encoder) {
        e.u64(self.gas).u64(self.memory_bytes).u64(self.table_elements).u64(self.stack_slots);
        e.u64(self.log_bytes).u64(self.output_bytes).u64(self.kv_bytes).u64(self.host_calls);
        e.u64(self.sql_bytes).u64(self.events).u64(self.event_bytes).u64(self.event_depth);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            gas: d.u64()?,
            memory_bytes: d.u64()?,
            table_elements: d.u64()?,
            stack_slots: d.u64()?,
            log_bytes: d.u64()?,
            output_bytes: d.u64()?,
            kv_bytes: d.u64()?,
            host_calls: d.u64()?,
            sql_bytes: d.u64()?,
            events: d.u64()?,
            event_bytes: d.u64()?,
            event_depth: d.u64()?,
        })
    }
}

/// Sends an event type to an exported function. The event type `default` takes what no other route names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Route {
    /// The event type.
    pub event_type: EventType,
    /// The exported function, `fn(i32) -> i32`.
    pub handler: String,
}

/// Into what an applet's state is split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Partition {
    /// Nothing: all its calls see one state, and run in order.
    #[default]
    None,
    /// A part for each device, and one for each publisher and trigger: a call sees the part of whom its message is from. Calls
    /// of different parts may run at the same time.
    Device,
}

impl Partition {
    const ALL: [Self; 2] = [Self::None, Self::Device];

    /// Whether there is nothing to split.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// Its name in a manifest.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Device => "device",
        }
    }
}

/// One applet of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applet {
    /// Its name, unique in the project.
    pub name: AppletName,
    /// SHA-256 of its WebAssembly module as it was uploaded.
    pub program: Digest,
    /// Its routes, in the order in which handlers of one event run.
    pub routes: Vec<Route>,
    /// Limits of each call.
    pub limits: GuestLimits,
    /// Into what its state is split.
    #[serde(default)]
    pub partition: Partition,
}

/// When a block is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct BlockRules {
    /// Most entries in a block.
    pub max_entries: u32,
    /// How long the first waiting message waits for company, in milliseconds.
    pub max_delay_ms: u32,
}

impl Default for BlockRules {
    fn default() -> Self {
        Self { max_entries: 1024, max_delay_ms: 20 }
    }
}

/// What a project is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The project's name.
    pub name: ProjectName,
    /// Who owns it: signs its manifests, registrations and revocations.
    pub owner: Did,
    /// Counts the deployments; each must be higher than the last.
    pub version: u64,
    /// What an acknowledgement promises.
    pub ack: AckMode,
    /// The largest payload that the project takes, in bytes.
    pub max_payload_bytes: u64,
    /// Whether publishers with a token (no signature per message) may send.
    pub allow_tokens: bool,
    /// Whether devices may send in a session (one signature for many messages).
    pub allow_sessions: bool,
    /// When a block is closed.
    pub blocks: BlockRules,
    /// Settings that guests read with `ws_get_env`, sorted by name.
    pub env: Vec<(String, String)>,
    /// The applets, in the order in which they run.
    pub applets: Vec<Applet>,
    /// What guests may settle on a chain.
    pub settlements: Vec<Settlement>,
    /// What guests may do on chains, beside settling.
    pub chains: Vec<ChainRule>,
    /// What guests are told of that no device sends.
    pub triggers: Vec<Trigger>,
    /// The project's database, if its applets use one.
    pub database: Option<Database>,
}

impl Manifest {
    /// The project's id.
    #[must_use]
    pub fn project(&self) -> ProjectId {
        ProjectId::new(&self.owner, &self.name)
    }

    /// Checks what the types do not: unique applets, sorted settings, sane limits.
    ///
    /// # Errors
    /// [`Malformed`] naming the field.
    pub fn check(&self) -> Result<(), Malformed> {
        let bad = |why: String| Err(Malformed::new("manifest", why));
        if self.env.windows(2).any(|w| w[0].0 >= w[1].0) {
            return bad("env must be sorted by name, each name once".into());
        }
        if self.max_payload_bytes > MAX_PAYLOAD_BYTES as u64 {
            return bad(format!("max-payload-bytes must be at most {MAX_PAYLOAD_BYTES}"));
        }
        if self.applets.len() > MAX_APPLETS || self.applets.iter().any(|a| a.routes.len() > MAX_ROUTES) {
            return bad(format!("at most {MAX_APPLETS} applets with {MAX_ROUTES} routes each"));
        }
        for (i, applet) in self.applets.iter().enumerate() {
            if self.applets[..i].iter().any(|a| a.name == applet.name) {
                return bad(format!("the applet {} stands twice", applet.name));
            }
            if applet.routes.is_empty() {
                return bad(format!("the applet {} has no route, so it would never run", applet.name));
            }
            for (j, route) in applet.routes.iter().enumerate() {
                if route.handler.is_empty() || route.handler.len() > 255 {
                    return bad(format!("a handler of {} must have 1 to 255 bytes", applet.name));
                }
                if applet.routes[..j].contains(route) {
                    return bad(format!(
                        "{} routes {} twice to {}",
                        applet.name, route.event_type, route.handler
                    ));
                }
            }
        }
        if self.settlements.len() > crate::MAX_SETTLEMENTS {
            return bad(format!("at most {} settlements", crate::MAX_SETTLEMENTS));
        }
        for (i, settlement) in self.settlements.iter().enumerate() {
            settlement.check()?;
            if self.settlements.iter().take(i).any(|s| s.name == settlement.name) {
                return bad(format!("the settlement {} stands twice", settlement.name));
            }
        }
        if self.chains.len() > crate::MAX_CHAINS {
            return bad(format!("at most {} chains", crate::MAX_CHAINS));
        }
        for (i, chain) in self.chains.iter().enumerate() {
            chain.check()?;
            if self.chains.iter().take(i).any(|c| c.chain_id == chain.chain_id) {
                return bad(format!("the chain {} stands twice", chain.chain_id));
            }
        }
        if self.triggers.len() > crate::MAX_TRIGGERS {
            return bad(format!("at most {} triggers", crate::MAX_TRIGGERS));
        }
        for (i, trigger) in self.triggers.iter().enumerate() {
            trigger.check()?;
            if self.triggers.iter().take(i).any(|t| t.name == trigger.name) {
                return bad(format!("the trigger {} stands twice", trigger.name));
            }
        }
        if let Some(database) = &self.database {
            database.check()?;
        }
        if self.blocks.max_entries == 0 || self.blocks.max_entries > 65_536 {
            return bad("blocks.max-entries must be 1 to 65536".into());
        }
        Ok(())
    }

    /// Whether this manifest can follow another one without hiding state: an applet's state lies under other keys if its
    /// partition changes.
    ///
    /// # Errors
    /// [`Malformed`] naming the applet, with what to write.
    pub fn keeps_partitions(&self, before: &Self) -> Result<(), Malformed> {
        for applet in &self.applets {
            let Some(old) = before.applets.iter().find(|a| a.name == applet.name) else { continue };
            if old.partition != applet.partition {
                let (name, was, is) = (&applet.name, old.partition.name(), applet.partition.name());
                let why = format!(
                    "the applet {name} has partition = \"{was}\" and cannot get \"{is}\", since it would not find its \
                     state any more: write partition = \"{was}\", or give the applet another name, under which it \
                     begins without state"
                );
                return Err(Malformed::new("manifest", why));
            }
        }
        Ok(())
    }

    /// Whether handlers may read contracts.
    #[must_use]
    pub fn reads(&self) -> bool {
        self.chains.iter().any(|c| c.read)
    }

    /// The trigger of this name.
    #[must_use]
    pub fn trigger(&self, name: &TriggerName) -> Option<&Trigger> {
        self.triggers.iter().find(|t| t.name == *name)
    }

    /// Whether a message is as one of this project's triggers makes them.
    #[must_use]
    pub fn allows(&self, message: &TriggerMessage) -> bool {
        let trigger = self.trigger(&message.trigger);
        message.project == self.project() && trigger.is_some_and(|t| t.event_type == message.event_type)
    }

    /// The (applet, route) pairs that an event type reaches, in order: all routes that name it, or, if
    /// none does, all that name `default`.
    #[must_use]
    pub fn routes(&self, event_type: &EventType) -> Vec<(&Applet, &Route)> {
        let applet = |(a, r): (usize, usize)| self.applets.get(a).and_then(|a| Some((a, a.routes.get(r)?)));
        self.routes_at(event_type).into_iter().filter_map(applet).collect()
    }

    /// As [`Self::routes`], by their places: the applet's among the applets, and the route's among its routes.
    #[must_use]
    pub fn routes_at(&self, event_type: &EventType) -> Vec<(usize, usize)> {
        let matching = |wanted: &str| -> Vec<(usize, usize)> {
            let applets = self.applets.iter().enumerate();
            let pairs = applets.flat_map(|(i, a)| a.routes.iter().enumerate().map(move |(j, r)| (i, j, r)));
            pairs.filter(|(_, _, r)| r.event_type.as_str() == wanted).map(|(i, j, _)| (i, j)).collect()
        };
        let named = matching(event_type.as_str());
        if named.is_empty() { matching("default") } else { named }
    }
}

impl Canonical for Route {
    const DOMAIN: &'static str = "w3b/route";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 2;

    fn encode_fields(&self, e: &mut Encoder) {
        e.text(self.event_type.as_str()).text(&self.handler);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self { event_type: d.parse()?, handler: d.text()?.to_owned() })
    }
}

impl Canonical for Applet {
    const DOMAIN: &'static str = "w3b/applet";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 5;

    fn encode_fields(&self, e: &mut Encoder) {
        e.text(self.name.as_str()).digest(&self.program);
        e.list(&self.routes, |e, r| {
            e.item(r);
        });
        e.item(&self.limits).u64(self.partition as u64);
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            name: d.parse()?,
            program: d.digest()?,
            routes: d.list(|d| d.item())?,
            limits: d.item()?,
            partition: usize::try_from(d.u64()?)
                .ok()
                .and_then(|i| Partition::ALL.get(i).copied())
                .ok_or_else(|| Malformed::new(Self::DOMAIN, "has an unknown partition"))?,
        })
    }
}

const ACK_MODES: [AckMode; 3] = [AckMode::Durable, AckMode::Committed, AckMode::Executed];

impl Canonical for Manifest {
    const DOMAIN: &'static str = "w3b/manifest";
    const VERSION: u16 = 1;
    const FIELDS: u64 = 15;

    fn encode_fields(&self, e: &mut Encoder) {
        e.text(self.name.as_str()).text(self.owner.as_str()).u64(self.version).u64(self.ack as u64);
        e.u64(self.max_payload_bytes).bool(self.allow_tokens).bool(self.allow_sessions);
        e.u64(u64::from(self.blocks.max_entries)).u64(u64::from(self.blocks.max_delay_ms));
        e.list(&self.env, |e, (name, value)| {
            e.list(&[name, value], |e, text| {
                e.text(text);
            });
        });
        e.list(&self.applets, |e, a| {
            e.item(a);
        });
        e.list(&self.settlements, |e, s| {
            e.item(s);
        });
        e.list(&self.chains, |e, c| {
            e.item(c);
        });
        e.list(&self.triggers, |e, t| {
            e.item(t);
        });
        e.option(self.database.as_ref(), |e, d| {
            e.item(d);
        });
    }

    fn decode_fields(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let manifest = Self {
            name: d.parse()?,
            owner: d.parse()?,
            version: d.u64()?,
            ack: usize::try_from(d.u64()?)
                .ok()
                .and_then(|i| ACK_MODES.get(i).copied())
                .ok_or_else(|| Malformed::new(Self::DOMAIN, "has an unknown ack mode"))?,
            max_payload_bytes: d.u64()?,
            allow_tokens: d.bool()?,
            allow_sessions: d.bool()?,
            blocks: BlockRules { max_entries: d.u32()?, max_delay_ms: d.u32()? },
            env: d.list(|d| {
                let pair: [String; 2] = d
                    .list(|d| d.text().map(str::to_owned))?
                    .try_into()
                    .map_err(|_| Malformed::new(Self::DOMAIN, "env must hold pairs"))?;
                Ok(pair.into())
            })?,
            applets: d.list(|d| d.item())?,
            settlements: d.list(|d| d.item())?,
            chains: d.list(|d| d.item())?,
            triggers: d.list(|d| d.item())?,
            database: d.option(|d| d.item())?,
        };
        manifest.check()?;
        Ok(manifest)
    }
}
