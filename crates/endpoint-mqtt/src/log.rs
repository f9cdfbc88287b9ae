//! What sessions and retained messages are kept in, so that they survive a restart: a SQLite database of the endpoint's own.
//!
//! Changes are noted without waiting and written in their order, many in one transaction. Who must not go on before a change is
//! durable waits for its number.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rmqtt_codec::v5;
use tokio::sync::{Notify, watch};
use tokio_util::codec::{Decoder as _, Encoder as _};
use w3bstream_endpoint::{Error, ErrorKind};
use w3bstream_sqlite::rusqlite::{self, Transaction, params};
use w3bstream_sqlite::{Database, Schema};
use w3bstream_tasks::Shutdown;

use crate::message::{Delivery, Message, Options, Qos};
use crate::packet::frame_len;
use crate::session::{Flight, Stage, lock};
use crate::wills::KeptWill;

const SCHEMA: Schema = Schema {
    backend: "endpoint-mqtt",
    steps: &["
        CREATE TABLE session (
            client TEXT PRIMARY KEY, expiry_ms INTEGER NOT NULL, ends_at INTEGER
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE subscription (
            client TEXT NOT NULL, filter TEXT NOT NULL, options INTEGER NOT NULL, id INTEGER NOT NULL,
            PRIMARY KEY (client, filter)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE delivery (
            client TEXT NOT NULL, number INTEGER NOT NULL, qos INTEGER NOT NULL, retain INTEGER NOT NULL,
            ids BLOB NOT NULL, packet_id INTEGER, released INTEGER NOT NULL DEFAULT 0,
            expires_at INTEGER, message BLOB NOT NULL,
            PRIMARY KEY (client, number)
        ) STRICT;
        CREATE TABLE retained (
            topic TEXT PRIMARY KEY, expires_at INTEGER, message BLOB NOT NULL
        ) STRICT, WITHOUT ROWID;
    ", "
        CREATE TABLE will (
            client TEXT PRIMARY KEY, due_at INTEGER, delay_ms INTEGER NOT NULL, expiry_s INTEGER, message BLOB NOT NULL
        ) STRICT, WITHOUT ROWID;
    "],
};
/// How long to wait before changes that could not be written are tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// One change of what is kept. Numbers are those that a session gives its deliveries.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// A session began, went on, or has lost its connection: then with its end, in milliseconds since the epoch.
    Session {
        client: Arc<str>,
        expiry: Duration,
        ends_at: Option<u64>,
    },
    /// A session has ended: nothing of it is kept.
    Ended {
        client: Arc<str>,
    },
    Subscribed {
        client: Arc<str>,
        filter: String,
        options: Options,
    },
    Unsubscribed {
        client: Arc<str>,
        filter: String,
    },
    Queued {
        client: Arc<str>,
        number: u64,
        delivery: Delivery,
    },
    Sent {
        client: Arc<str>,
        number: u64,
        packet_id: NonZeroU16,
    },
    Released {
        client: Arc<str>,
        number: u64,
    },
    Done {
        client: Arc<str>,
        number: u64,
    },
    /// The session's connection has a will, or had it: then with the time at which it is due.
    Will {
        client: Arc<str>,
        due_at: Option<u64>,
        will: Arc<KeptWill>,
    },
    /// It has none any more.
    NoWill {
        client: Arc<str>,
    },
    Retained {
        message: Arc<Message>,
    },
    NotRetained {
        topic: String,
    },
}

/// A session as it was kept.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    pub(crate) expiry: Duration,
    pub(crate) ends_at: Option<u64>,
    pub(crate) filters: Vec<(String, Options)>,
    pub(crate) queue: Vec<(u64, Delivery)>,
    pub(crate) sent: Vec<(u64, Flight)>,
    /// With when it is due; `None` if its connection was cut when the node ended.
    pub(crate) will: Option<(Option<u64>, KeptWill)>,
}

/// Everything that was kept: sessions by client id, and retained messages.
type Everything = (BTreeMap<String, Saved>, Vec<Arc<Message>>);

/// The log. See the module.
#[derive(Debug)]
pub(crate) struct Log {
    db: Database,
    noted: Mutex<Noted>,
    written: watch::Sender<u64>,
    /// The same numbers, to look without a lock: the last change that is durable, and the last one that was noted.
    durable: AtomicU64,
    last: AtomicU64,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Noted {
    last: u64,
    changes: Vec<Change>,
}

/// A number as SQLite has it. Those here stay far below 2^63.
struct Num(u64);

impl rusqlite::ToSql for Num {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        Ok(i64::try_from(self.0).unwrap_or(i64::MAX).into())
    }
}

impl rusqlite::types::FromSql for Num {
    fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
        Ok(Self(value.as_i64()?.cast_unsigned()))
    }
}

fn sql<T>(result: rusqlite::Result<T>) -> Result<T, w3bstream_sqlite::Error> {
    Ok(result?)
}

impl Log {
    /// Opens the file, or makes it.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let options = w3bstream_sqlite::Options { readers: 1, ..w3bstream_sqlite::Options::default() };
        let db = Database::open(path, &SCHEMA, &options).map_err(|e| {
            let what = format!("mqtt: sessions cannot be kept in {}", path.display());
            Error::new(ErrorKind::State, what).with_source(e)
        })?;
        let (written, _) = watch::channel(0);
        let (durable, last) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { db, noted: Mutex::default(), written, durable, last, wake: Notify::new() })
    }

    /// Notes a change; its number.
    pub(crate) fn note(&self, change: Change) -> u64 {
        let (number, first) = {
            let mut noted = lock(&self.noted);
            noted.last += 1;
            noted.changes.push(change);
            self.last.store(noted.last, Ordering::Release);
            // Who writes takes all that there is: only the first one has to wake it.
            (noted.last, noted.changes.len() == 1)
        };
        if first {
            self.wake.notify_one();
        }
        number
    }

    /// Whether the change of this number, and all before it, are durable.
    pub(crate) fn is_written(&self, number: u64) -> bool {
        self.durable.load(Ordering::Acquire) >= number
    }

    /// Whether everything that was noted is durable.
    pub(crate) fn is_flushed(&self) -> bool {
        self.is_written(self.last.load(Ordering::Acquire))
    }

    /// Waits until the change of this number, and all before it, are durable.
    pub(crate) async fn written(&self, number: u64) {
        if self.is_written(number) {
            return;
        }
        // The sender lives as long as `self`.
        let _ = self.written.subscribe().wait_for(|written| *written >= number).await;
    }

    /// Waits until everything that was noted is durable.
    pub(crate) async fn flush(&self) {
        self.written(self.last.load(Ordering::Acquire)).await;
    }

    /// Writes changes until it is asked to stop and has written all of them.
    pub(crate) async fn run(self: Arc<Self>, shutdown: Shutdown) {
        loop {
            let (changes, last) = {
                let mut noted = lock(&self.noted);
                (std::mem::take(&mut noted.changes), noted.last)
            };
            if !changes.is_empty() {
                if !self.write(changes, &shutdown).await {
                    // Nobody is told that they are kept.
                    return self.db.close().await;
                }
                self.durable.store(last, Ordering::Release);
                self.written.send_replace(last);
                continue;
            }
            if shutdown.is_requested() {
                return self.db.close().await;
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = shutdown.requested() => {}
            }
        }
    }

    /// Tries until it has worked: until then nobody is told that the changes are kept. False if it is asked to stop before.
    async fn write(&self, changes: Vec<Change>, shutdown: &Shutdown) -> bool {
        let changes = Arc::new(changes);
        let bytes = changes.len() * 256;
        loop {
            let batch = Arc::clone(&changes);
            let done = self.db.write(bytes, move |tx| batch.iter().try_for_each(|c| write(tx, c))).await;
            let Err(error) = done else { return true };
            tracing::error!(%error, "mqtt sessions cannot be written; their clients wait");
            if shutdown.is_requested() {
                return false;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Reads everything.
    pub(crate) async fn load(&self) -> Result<Everything, Error> {
        let read = self.db.read(|tx| Ok::<_, w3bstream_sqlite::Error>((sessions(tx)?, retained(tx)?))).await;
        read.map_err(|e| {
            Error::new(ErrorKind::State, "mqtt: the sessions that were kept cannot be read").with_source(e)
        })
    }
}

/// A message as the PUBLISH that MQTT 5 would send: the standard's own encoding, which anybody can read.
pub(crate) fn encode(message: &Message) -> Vec<u8> {
    let publish = rmqtt_codec::types::Publish {
        dup: false,
        retain: message.retain,
        qos: message.qos.raw(),
        topic: message.topic.as_str().into(),
        packet_id: (message.qos > Qos::AtMostOnce).then_some(NonZeroU16::MIN),
        payload: message.payload.clone(),
        properties: Some(message.properties.clone()),
    };
    let mut out = BytesMut::new();
    // It was decoded from a packet of bounded size, so it can be encoded.
    let _ = v5::Codec::new(0, 0).encode(v5::Packet::Publish(Box::new(publish)), &mut out);
    out.to_vec()
}

pub(crate) fn decode(bytes: &[u8], expires_at: Option<u64>) -> Option<Message> {
    // The codec reserves what a packet's length says, which in a damaged file may be 256 MiB.
    if frame_len(bytes, bytes.len()) != Ok(Some(bytes.len())) {
        return None;
    }
    let mut buf = BytesMut::from(bytes);
    let Ok(Some((v5::Packet::Publish(p), _))) = v5::Codec::new(0, 0).decode(&mut buf) else { return None };
    Some(Message {
        topic: p.topic.to_string(),
        payload: Bytes::copy_from_slice(&p.payload),
        properties: p.properties.unwrap_or_default(),
        expires_at,
        qos: Qos::of(p.qos),
        retain: p.retain,
        from: None,
    })
}

fn options_number(o: &Options) -> u8 {
    o.qos.number() | u8::from(o.no_local) << 2 | u8::from(o.retain_as_published) << 3 | o.retain_handling << 4
}

fn options_of(number: u8, id: u32) -> Option<Options> {
    Some(Options {
        qos: Qos::of_number(number & 0b11)?,
        no_local: number & 0b100 != 0,
        retain_as_published: number & 0b1000 != 0,
        retain_handling: number >> 4,
        id: NonZeroU32::new(id),
    })
}

fn write(tx: &Transaction<'_>, change: &Change) -> Result<(), w3bstream_sqlite::Error> {
    let run =
        |text: &str, with: &[&dyn rusqlite::ToSql]| sql(tx.prepare_cached(text)?.execute(with)).map(drop);
    match change {
        Change::Session { client, expiry, ends_at } => {
            let expiry = u64::try_from(expiry.as_millis()).unwrap_or(u64::MAX >> 1);
            let values = params![client, Num(expiry), ends_at.map(Num)];
            run("INSERT OR REPLACE INTO session VALUES (?1, ?2, ?3)", values)
        }
        Change::Ended { client } => {
            run("DELETE FROM session WHERE client = ?1", params![client])?;
            run("DELETE FROM subscription WHERE client = ?1", params![client])?;
            run("DELETE FROM will WHERE client = ?1", params![client])?;
            run("DELETE FROM delivery WHERE client = ?1", params![client])
        }
        Change::Subscribed { client, filter, options } => {
            let id = options.id.map_or(0, NonZeroU32::get);
            let values = params![client, filter, options_number(options), id];
            run("INSERT OR REPLACE INTO subscription VALUES (?1, ?2, ?3, ?4)", values)
        }
        Change::Unsubscribed { client, filter } => {
            run("DELETE FROM subscription WHERE client = ?1 AND filter = ?2", params![client, filter])
        }
        Change::Queued { client, number, delivery } => {
            let ids: Vec<u8> = delivery.ids.iter().flat_map(|id| id.get().to_be_bytes()).collect();
            let message = &delivery.message;
            run(
                "INSERT INTO delivery (client, number, qos, retain, ids, expires_at, message)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    client,
                    Num(*number),
                    delivery.qos.number(),
                    delivery.retain,
                    ids,
                    message.expires_at.map(Num),
                    encode(message)
                ],
            )
        }
        Change::Sent { client, number, packet_id } => run(
            "UPDATE delivery SET packet_id = ?3 WHERE client = ?1 AND number = ?2",
            params![client, Num(*number), packet_id.get()],
        ),
        Change::Released { client, number } => run(
            "UPDATE delivery SET released = 1 WHERE client = ?1 AND number = ?2",
            params![client, Num(*number)],
        ),
        Change::Done { client, number } => {
            run("DELETE FROM delivery WHERE client = ?1 AND number = ?2", params![client, Num(*number)])
        }
        Change::Will { client, due_at, will } => run(
            "INSERT OR REPLACE INTO will VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                client,
                due_at.map(Num),
                Num(u64::try_from(will.delay.as_millis()).unwrap_or(u64::MAX >> 1)),
                will.expiry_secs,
                encode(&will.message)
            ],
        ),
        Change::NoWill { client } => run("DELETE FROM will WHERE client = ?1", params![client]),
        Change::Retained { message } => run(
            "INSERT OR REPLACE INTO retained VALUES (?1, ?2, ?3)",
            params![message.topic, message.expires_at.map(Num), encode(message)],
        ),
        Change::NotRetained { topic } => run("DELETE FROM retained WHERE topic = ?1", params![topic]),
    }
}

fn sessions(tx: &Transaction<'_>) -> Result<BTreeMap<String, Saved>, w3bstream_sqlite::Error> {
    let mut all: BTreeMap<String, Saved> = BTreeMap::new();
    let mut rows = tx.prepare("SELECT client, expiry_ms, ends_at FROM session")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let (Num(expiry), ends_at) = (row.get(1)?, row.get::<_, Option<Num>>(2)?.map(|n| n.0));
        let expiry = Duration::from_millis(expiry);
        all.insert(row.get(0)?, Saved { expiry, ends_at, ..Saved::default() });
    }
    let mut rows = tx.prepare("SELECT client, filter, options, id FROM subscription")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let client: String = row.get(0)?;
        if let (Some(saved), Some(options)) = (all.get_mut(&client), options_of(row.get(2)?, row.get(3)?)) {
            saved.filters.push((row.get(1)?, options));
        }
    }
    let mut rows = tx.prepare(
        "SELECT client, number, qos, retain, ids, packet_id, released, expires_at, message
         FROM delivery ORDER BY client, number",
    )?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let client: String = row.get(0)?;
        if let (Some(saved), Some(delivery)) = (all.get_mut(&client), delivery(row)?) {
            let (Num(number), released): (Num, bool) = (row.get(1)?, row.get(6)?);
            match row.get::<_, Option<u16>>(5)?.and_then(NonZeroU16::new) {
                Some(id) if released => {
                    saved.sent.push((number, Flight { id, stage: Stage::Released(Some(number)) }));
                }
                Some(id) => saved.sent.push((number, Flight { id, stage: Stage::Published(delivery) })),
                None => saved.queue.push((number, delivery)),
            }
        }
    }
    wills(tx, &mut all)?;
    Ok(all)
}

fn wills(tx: &Transaction<'_>, all: &mut BTreeMap<String, Saved>) -> Result<(), w3bstream_sqlite::Error> {
    let mut rows = tx.prepare("SELECT client, due_at, delay_ms, expiry_s, message FROM will")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let message = decode(&row.get::<_, Vec<u8>>(4)?, None);
        if let (Some(saved), Some(message)) = (all.get_mut(&row.get::<_, String>(0)?), message) {
            let delay = Duration::from_millis(row.get::<_, Num>(2)?.0);
            let will = KeptWill { message, delay, expiry_secs: row.get(3)? };
            saved.will = Some((row.get::<_, Option<Num>>(1)?.map(|n| n.0), will));
        }
    }
    Ok(())
}

fn delivery(row: &rusqlite::Row<'_>) -> Result<Option<Delivery>, w3bstream_sqlite::Error> {
    let (Num(number), qos, retain, ids): (Num, u8, bool, Vec<u8>) =
        (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
    let message = decode(&row.get::<_, Vec<u8>>(8)?, row.get::<_, Option<Num>>(7)?.map(|n| n.0));
    let ids = ids.as_chunks::<4>().0.iter().filter_map(|id| NonZeroU32::new(u32::from_be_bytes(*id)));
    Ok(message.zip(Qos::of_number(qos)).map(|(message, qos)| Delivery {
        message: Arc::new(message),
        qos,
        retain,
        ids: ids.collect(),
        stored: Some(number),
    }))
}

fn retained(tx: &Transaction<'_>) -> Result<Vec<Arc<Message>>, w3bstream_sqlite::Error> {
    let mut rows = tx.prepare("SELECT expires_at, message FROM retained ORDER BY topic")?;
    let mut rows = rows.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.extend(
            decode(&row.get::<_, Vec<u8>>(1)?, row.get::<_, Option<Num>>(0)?.map(|n| n.0)).map(Arc::new),
        );
    }
    Ok(all)
}
