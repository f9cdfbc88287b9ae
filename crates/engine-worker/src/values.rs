//! What is in frames.

use std::collections::{BTreeMap, BTreeSet};

use w3bstream_engine::{
    ABI_VERSION, Call, Caused, Cut, Error, ErrorKind, GuestError, LogLine, Outcome, Source, Uses,
};
use w3bstream_types::{
    Address, ChainRule, ContractAnswer, ContractCall, Decoder, Did, Digest, Encoder, EventType, GuestLimits,
    Malformed, ProjectId, Settlement, SqlBudget, SqlOutcome, SqlRefusal, SqlRows, SqlStatement, SqlValue,
    Trigger,
};

use crate::frame::VERSION;

/// The longest text of an error, in bytes.
const MAX_ERROR_BYTES: usize = 64 << 10;

fn bad(what: &'static str, why: impl Into<String>) -> Malformed {
    Malformed::new(what, why.into())
}

fn int(d: &mut Decoder<'_>) -> Result<i32, Malformed> {
    i32::try_from(d.i64()?).map_err(|_| bad("number", "has more than 32 bits"))
}

fn pair(d: &mut Decoder<'_>) -> Result<(), Malformed> {
    if d.head()? == 2 { Ok(()) } else { Err(bad("pair", "has another number of items")) }
}

/// What a node lays down for a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// How many programs the worker keeps, the ones used last.
    pub cache_entries: usize,
    /// The most bytes of memory that the worker may have; 0 for no such limit.
    pub memory_bytes: u64,
}

/// Versions, before anything else: what follows means something only if they are the same.
fn put_versions(e: &mut Encoder) {
    e.u64(VERSION).u64(ABI_VERSION);
}

fn versions(d: &mut Decoder<'_>) -> Result<(), Malformed> {
    let (frames, abi) = (d.u64()?, d.u64()?);
    if (frames, abi) == (VERSION, ABI_VERSION) {
        return Ok(());
    }
    let theirs = format!("frames of version {frames} and guests of version {abi}");
    Err(bad("first frame", format!("the other side has {theirs}, this one {VERSION} and {ABI_VERSION}")))
}

impl Terms {
    pub(crate) fn put(&self, e: &mut Encoder) {
        put_versions(e);
        e.u64(self.cache_entries as u64).u64(self.memory_bytes);
    }

    pub(crate) fn read(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        versions(d)?;
        let cache_entries = usize::try_from(d.u64()?).unwrap_or(usize::MAX);
        Ok(Self { cache_entries, memory_bytes: d.u64()? })
    }
}

/// The first frame of a worker: the name of its engine.
pub(crate) fn put_ready(e: &mut Encoder, engine: &str) {
    put_versions(e);
    e.text(engine);
}

pub(crate) fn ready(d: &mut Decoder<'_>) -> Result<String, Malformed> {
    versions(d)?;
    Ok(d.text()?.to_owned())
}

/// What a worker tells of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) program: Digest,
    pub(crate) instrumented: Digest,
    pub(crate) handlers: Vec<String>,
    pub(crate) uses: Uses,
}

impl About {
    pub(crate) fn put(&self, e: &mut Encoder) {
        e.digest(&self.program).digest(&self.instrumented);
        e.list(&self.handlers, |e, name| {
            e.text(name);
        });
        e.bool(self.uses.events).bool(self.uses.database);
    }

    pub(crate) fn read(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let handlers = |d: &mut Decoder<'_>| d.list(|d| Ok(d.text()?.to_owned()));
        let uses = |d: &mut Decoder<'_>| Ok(Uses { events: d.bool()?, database: d.bool()? });
        Ok(Self { program: d.digest()?, instrumented: d.digest()?, handlers: handlers(d)?, uses: uses(d)? })
    }
}

/// A call that was read.
#[derive(Clone, Debug)]
pub(crate) struct OwnedCall {
    pub(crate) program: Digest,
    pub(crate) has_database: bool,
    handler: String,
    event_type: EventType,
    payload: Vec<u8>,
    rid: i32,
    project: Option<ProjectId>,
    device: Option<Did>,
    salt: Option<[u8; 16]>,
    time: u64,
    caused: Caused,
    block_time: u64,
    env: Vec<(String, String)>,
    settlements: Vec<Settlement>,
    chains: Vec<ChainRule>,
    triggers: Vec<Trigger>,
    id: Digest,
    limits: GuestLimits,
}

pub(crate) fn put_call(e: &mut Encoder, program: &Digest, call: &Call<'_>, has_database: bool) {
    let Call { handler, event_type, payload, rid, source, env, settlements, chains, triggers, id, limits } =
        call;
    let Source { project, device, salt, time, caused, block_time } = source;
    e.digest(program).bool(has_database);
    e.text(handler).text(event_type.as_str()).bytes(payload).i64(i64::from(*rid));
    e.option(project.as_ref(), |e, project| {
        e.digest(&project.0);
    });
    e.option(device.as_ref(), |e, did| {
        e.text(did.as_str());
    });
    e.option(salt.as_ref(), |e, salt| {
        e.bytes(&salt[..]);
    });
    e.u64(*time).u64(caused.depth).u64(caused.events).u64(caused.bytes).u64(*block_time);
    e.list(env, |e, (name, value)| {
        e.array(2).text(name).text(value);
    });
    e.list(settlements, |e, settlement| {
        e.item(settlement);
    });
    e.list(chains, |e, chain| {
        e.item(chain);
    });
    e.list(triggers, |e, trigger| {
        e.item(trigger);
    });
    e.digest(id).item(*limits);
}

impl OwnedCall {
    pub(crate) fn read(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            program: d.digest()?,
            has_database: d.bool()?,
            handler: d.text()?.to_owned(),
            event_type: d.parse()?,
            payload: d.bytes()?.to_vec(),
            rid: int(d)?,
            project: d.option(|d| d.digest().map(ProjectId))?,
            device: d.option(|d| d.parse())?,
            salt: d.option(|d| d.array())?,
            time: d.u64()?,
            caused: Caused { depth: d.u64()?, events: d.u64()?, bytes: d.u64()? },
            block_time: d.u64()?,
            env: d.list(|d| {
                pair(d)?;
                Ok((d.text()?.to_owned(), d.text()?.to_owned()))
            })?,
            settlements: d.list(|d| d.item())?,
            chains: d.list(|d| d.item())?,
            triggers: d.list(|d| d.item())?,
            id: d.digest()?,
            limits: d.item()?,
        })
    }

    pub(crate) fn call(&self) -> Call<'_> {
        Call {
            handler: &self.handler,
            event_type: &self.event_type,
            payload: &self.payload,
            rid: self.rid,
            source: Source {
                project: self.project,
                device: self.device.as_ref(),
                salt: self.salt.as_ref(),
                time: self.time,
                caused: self.caused,
                block_time: self.block_time,
            },
            env: &self.env,
            settlements: &self.settlements,
            chains: &self.chains,
            triggers: &self.triggers,
            id: self.id,
            limits: &self.limits,
        }
    }
}

pub(crate) fn put_outcome(e: &mut Encoder, outcome: &Outcome) {
    let Outcome { result, gas, writes, removed, outputs, logs, cut } = outcome;
    match result {
        Ok(code) => e.u64(0).i64(i64::from(*code)),
        Err(why) => e.u64(1).text(why.code()),
    };
    e.u64(*gas).array(writes.len() as u64);
    for (key, value) in writes {
        e.array(2).bytes(key).bytes(value);
    }
    e.array(removed.len() as u64);
    for key in removed {
        e.bytes(key);
    }
    e.list(outputs, |e, output| {
        e.item(output);
    });
    e.list(logs, |e, line| {
        e.array(2).i64(i64::from(line.level)).text(&line.text);
    });
    e.u64(cut.log_lines).u64(cut.events);
}

pub(crate) fn outcome(d: &mut Decoder<'_>) -> Result<Outcome, Malformed> {
    let result = match d.u64()? {
        0 => Ok(int(d)?),
        1 => {
            let code = d.text()?;
            let known = GuestError::ALL.into_iter().find(|e| e.code() == code);
            Err(known.ok_or_else(|| bad("outcome", "names no way in which a handler fails"))?)
        }
        _ => return Err(bad("outcome", "neither returned nor failed")),
    };
    let gas = d.u64()?;
    let mut writes = BTreeMap::new();
    for _ in 0..d.head()? {
        pair(d)?;
        let (key, value) = (d.bytes()?.to_vec(), d.bytes()?.to_vec());
        if writes.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return Err(bad("outcome", "its keys do not rise"));
        }
        writes.insert(key, value);
    }
    let mut removed = BTreeSet::new();
    for _ in 0..d.head()? {
        let key = d.bytes()?.to_vec();
        if removed.last().is_some_and(|last| *last >= key) || writes.contains_key(&key) {
            return Err(bad("outcome", "the keys that it removes do not rise, or are set"));
        }
        removed.insert(key);
    }
    let outputs = d.list(|d| d.item())?;
    let logs = d.list(|d| {
        pair(d)?;
        Ok(LogLine { level: int(d)?, text: d.text()?.to_owned() })
    })?;
    let cut = Cut { log_lines: d.u64()?, events: d.u64()? };
    Ok(Outcome { result, gas, writes, removed, outputs, logs, cut })
}

const KINDS: [ErrorKind; 5] =
    [ErrorKind::BadProgram, ErrorKind::Unsupported, ErrorKind::State, ErrorKind::Host, ErrorKind::Closed];

/// An error, as text. Its causes stand in it.
pub(crate) fn put_error(e: &mut Encoder, kind: ErrorKind, text: &str) {
    // One that has no number is a failure of the engine.
    let number = KINDS.iter().position(|k| *k == kind).unwrap_or(3);
    let end = (0..=text.len().min(MAX_ERROR_BYTES)).rev().find(|at| text.is_char_boundary(*at));
    e.u64(number as u64).text(text.get(..end.unwrap_or(0)).unwrap_or_default());
}

pub(crate) fn error(d: &mut Decoder<'_>) -> Result<Error, Malformed> {
    let kind = usize::try_from(d.u64()?).ok().and_then(|n| KINDS.get(n));
    let kind = kind.ok_or_else(|| bad("error", "is of no kind"))?;
    Ok(Error::new(*kind, d.text()?))
}

/// What a worker asks the state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Asked {
    /// A key's value.
    Get(Vec<u8>),
    /// What a contract answers.
    Contract(ContractCall),
    /// To run a statement.
    Sql(SqlStatement, SqlBudget),
}

impl Asked {
    pub(crate) fn read(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        match d.u64()? {
            0 => Ok(Self::Get(d.bytes()?.to_vec())),
            1 => Ok(Self::Contract(ContractCall {
                chain_id: d.u64()?,
                to: Address::from_bytes(d.array()?),
                data: d.bytes()?.to_vec(),
            })),
            2 => Ok(Self::Sql(
                d.item()?,
                SqlBudget {
                    gas: d.u64()?,
                    step: d.u64()?,
                    row: d.u64()?,
                    row_byte: d.u64()?,
                    result_bytes: d.u64()?,
                    database_bytes: d.u64()?,
                },
            )),
            n => Err(bad("question", format!("{n} is none"))),
        }
    }
}

pub(crate) fn put_get(e: &mut Encoder, key: &[u8]) {
    e.u64(0).bytes(key);
}

pub(crate) fn put_contract(e: &mut Encoder, call: &ContractCall) {
    e.u64(1).u64(call.chain_id).bytes(call.to.as_bytes()).bytes(&call.data);
}

pub(crate) fn put_sql(e: &mut Encoder, statement: &SqlStatement, budget: &SqlBudget) {
    let SqlBudget { gas, step, row, row_byte, result_bytes, database_bytes } = *budget;
    e.u64(2).item(statement);
    e.u64(gas).u64(step).u64(row).u64(row_byte).u64(result_bytes).u64(database_bytes);
}

/// What the state says.
#[derive(Debug)]
pub(crate) enum Told {
    /// A key's value.
    Value(Option<Vec<u8>>),
    /// What a contract answers.
    Contract(Option<ContractAnswer>),
    /// What became of a statement.
    Sql(SqlOutcome),
    /// It says nothing; the call has no outcome.
    Failed(Error),
}

impl Told {
    pub(crate) fn put(&self, e: &mut Encoder) {
        match self {
            Self::Value(value) => {
                e.u64(0).option(value.as_ref(), |e, value| {
                    e.bytes(value);
                });
            }
            Self::Contract(answer) => match answer {
                None => {
                    e.u64(1).u64(0);
                }
                Some(ContractAnswer::Returned(data)) => {
                    e.u64(1).u64(1).bytes(data);
                }
                Some(ContractAnswer::Reverted(data)) => {
                    e.u64(1).u64(2).bytes(data);
                }
            },
            Self::Sql(outcome) => {
                e.u64(2).u64(outcome.gas);
                put_rows(e, &outcome.result);
            }
            Self::Failed(error) => {
                e.u64(3);
                put_error(e, error.kind(), &error.to_string());
            }
        }
    }

    pub(crate) fn read(d: &mut Decoder<'_>) -> Result<Self, Malformed> {
        match d.u64()? {
            0 => Ok(Self::Value(d.option(|d| Ok(d.bytes()?.to_vec()))?)),
            1 => Ok(Self::Contract(match d.u64()? {
                0 => None,
                1 => Some(ContractAnswer::Returned(d.bytes()?.to_vec())),
                2 => Some(ContractAnswer::Reverted(d.bytes()?.to_vec())),
                n => return Err(bad("answer of a contract", format!("{n} is none"))),
            })),
            2 => Ok(Self::Sql(SqlOutcome { gas: d.u64()?, result: rows(d)? })),
            3 => Ok(Self::Failed(error(d)?)),
            n => Err(bad("answer", format!("{n} is none"))),
        }
    }
}

fn put_rows(e: &mut Encoder, result: &Result<SqlRows, SqlRefusal>) {
    match result {
        Ok(SqlRows { columns, rows }) => {
            e.u64(0).list(columns, |e, name| {
                e.text(name);
            });
            e.list(rows, |e, row| {
                e.list(row, |e, value| {
                    e.bytes(&value.to_bytes());
                });
            });
        }
        Err(SqlRefusal::NoDatabase) => {
            e.u64(1);
        }
        Err(SqlRefusal::OutOfGas) => {
            e.u64(2);
        }
        Err(SqlRefusal::TooMuch) => {
            e.u64(3);
        }
        Err(SqlRefusal::Refused(why)) => {
            e.u64(4).text(why);
        }
    }
}

fn rows(d: &mut Decoder<'_>) -> Result<Result<SqlRows, SqlRefusal>, Malformed> {
    Ok(match d.u64()? {
        0 => Ok(SqlRows {
            columns: d.list(|d| Ok(d.text()?.to_owned()))?,
            rows: d.list(|d| d.list(|d| SqlValue::from_bytes(d.bytes()?)))?,
        }),
        1 => Err(SqlRefusal::NoDatabase),
        2 => Err(SqlRefusal::OutOfGas),
        3 => Err(SqlRefusal::TooMuch),
        4 => Err(SqlRefusal::Refused(d.text()?.to_owned())),
        n => return Err(bad("rows", format!("{n} is no way to end"))),
    })
}

#[cfg(test)]
mod tests;
