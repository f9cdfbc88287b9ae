//! The committed module, run by an interpreter with a host of a few lines, must do what the native code does.

use std::collections::BTreeMap;

use w3bstream_example_cold_chain::{reading, unknown};
use w3bstream_sdk::mock::{self, Published, Sender, Settled};
use wasmi::{AsContextMut, Caller, Config, Engine, Extern, Instance, Linker, Memory, Module, Store};

use super::readings::{root, rows};
use super::settle::{hour, sender};

/// What the interpreter may do in one call: a node's default is 100 million gas, and both count about one for an
/// instruction.
const FUEL: u64 = 100_000_000;

/// One call's host.
#[derive(Default)]
struct Host {
    kv: BTreeMap<Vec<u8>, Vec<u8>>,
    env: BTreeMap<String, String>,
    event_type: String,
    payload: Vec<u8>,
    published: Vec<Published>,
    logs: Vec<(i32, String)>,
    sender: Sender,
    settled: Vec<Settled>,
    fuel: u64,
}

fn memory(caller: &Caller<'_, Host>) -> Memory {
    caller.get_export("memory").and_then(Extern::into_memory).unwrap()
}

fn bytes(caller: &Caller<'_, Host>, at: i32, size: i32) -> Vec<u8> {
    memory(caller).data(caller)[at as usize..][..size as usize].to_vec()
}

/// Answers with bytes as a node does: the guest allocates, then address and length are stored.
fn answer(caller: &mut Caller<'_, Host>, value: Option<Vec<u8>>, absent: i32, out: (i32, i32)) -> i32 {
    let Some(value) = value else { return absent };
    let alloc = caller.get_export("alloc").and_then(Extern::into_func).unwrap();
    let alloc = alloc.typed::<i32, i32>(&caller).unwrap();
    let at = alloc.call(caller.as_context_mut(), value.len() as i32).unwrap();
    let memory = memory(caller);
    memory.write(&mut *caller, at as usize, &value).unwrap();
    memory.write(&mut *caller, out.0 as usize, &at.to_le_bytes()).unwrap();
    memory.write(&mut *caller, out.1 as usize, &(value.len() as u32).to_le_bytes()).unwrap();
    0
}

fn linker(engine: &Engine) -> Linker<Host> {
    let mut linker = Linker::new(engine);
    linker
        .func_wrap("env", "ws_log", |mut c: Caller<'_, Host>, level: i32, at: i32, size: i32| {
            let line = String::from_utf8(bytes(&c, at, size)).unwrap();
            c.data_mut().logs.push((level, line));
            0
        })
        .unwrap()
        .func_wrap("env", "ws_get_data", |mut c: Caller<'_, Host>, rid: i32, out: i32, size: i32| {
            let value = (rid == 1).then(|| c.data().payload.clone());
            answer(&mut c, value, 2, (out, size))
        })
        .unwrap()
        .func_wrap("env", "ws_get_event_type", |mut c: Caller<'_, Host>, rid: i32, out: i32, size: i32| {
            let value = (rid == 1).then(|| c.data().event_type.clone().into_bytes());
            answer(&mut c, value, 2, (out, size))
        })
        .unwrap()
        .func_wrap("env", "ws_get_db", |mut c: Caller<'_, Host>, key: i32, len: i32, out: i32, size: i32| {
            let value = c.data().kv.get(&bytes(&c, key, len)).cloned();
            answer(&mut c, value, 2, (out, size))
        })
        .unwrap()
        .func_wrap(
            "env",
            "ws_set_db",
            |mut c: Caller<'_, Host>, key: i32, len: i32, value: i32, size: i32| {
                let (key, value) = (bytes(&c, key, len), bytes(&c, value, size));
                c.data_mut().kv.insert(key, value);
                0
            },
        )
        .unwrap()
        .func_wrap("env", "ws_get_env", |mut c: Caller<'_, Host>, key: i32, len: i32, out: i32, size: i32| {
            let name = String::from_utf8(bytes(&c, key, len)).unwrap();
            let value = c.data().env.get(&name).cloned().map(String::into_bytes);
            answer(&mut c, value, 8, (out, size))
        })
        .unwrap()
        .func_wrap(
            "env",
            "ws_send_mqtt_msg",
            |mut c: Caller<'_, Host>, topic: i32, len: i32, at: i32, size: i32| {
                let topic = String::from_utf8(bytes(&c, topic, len)).unwrap();
                let payload = bytes(&c, at, size);
                c.data_mut().published.push(Published { topic, payload });
                0
            },
        )
        .unwrap();
    settlement(&mut linker);
    linker
}

/// The functions that a statement needs.
fn settlement(linker: &mut Linker<Host>) {
    linker
        .func_wrap(
            "env",
            "ws_get_context",
            |mut c: Caller<'_, Host>, _rid: i32, item: i32, out: i32, size: i32| {
                let sender = &c.data().sender;
                let value = match item {
                    1 => Some(sender.project.to_vec()),
                    3 => sender.device.as_ref().map(|(_, hash)| hash.to_vec()),
                    4 => sender.salt.map(Vec::from),
                    other => panic!("the applet has no use for item {other}"),
                };
                answer(&mut c, value, 2, (out, size))
            },
        )
        .unwrap()
        .func_wrap("env", "ws_settle", |mut c: Caller<'_, Host>, name: i32, len: i32, at: i32, size: i32| {
            let name = String::from_utf8(bytes(&c, name, len)).unwrap();
            let statement = bytes(&c, at, size);
            if name != "day" || statement.len() != 288 {
                return 2;
            }
            c.data_mut().settled.push(Settled { name, statement });
            0
        })
        .unwrap();
}

/// The module and the state that outlives a call.
struct Guest {
    engine: Engine,
    module: Module,
    linker: Linker<Host>,
    host: Host,
}

impl Guest {
    fn new(env: &[(&str, &str)]) -> Self {
        let engine = Engine::new(Config::default().consume_fuel(true));
        let program = std::fs::read(root().join("artefacts/cold-chain.wasm")).unwrap();
        let module = Module::new(&engine, program).unwrap();
        let env = env.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let linker = linker(&engine);
        Self { engine, module, linker, host: Host { env, ..Host::default() } }
    }

    /// Calls a handler in a fresh instance.
    fn call(&mut self, handler: &str, event_type: &str, payload: &[u8]) -> i32 {
        let host = Host {
            event_type: event_type.into(),
            payload: payload.into(),
            published: Vec::new(),
            logs: Vec::new(),
            settled: Vec::new(),
            ..std::mem::take(&mut self.host)
        };
        let mut store = Store::new(&self.engine, host);
        store.set_fuel(FUEL).unwrap();
        let instance: Instance = self.linker.instantiate_and_start(&mut store, &self.module).unwrap();
        let code = instance.get_typed_func::<i32, i32>(&store, handler).unwrap().call(&mut store, 1).unwrap();
        let fuel = FUEL - store.get_fuel().unwrap();
        self.host = Host { fuel, ..store.into_data() };
        code
    }
}

#[test]
fn the_module_does_what_the_native_code_does() {
    let env = [("alarm_above_mc", "18000"), ("alarm_below_mc", "4000")];
    let mut guest = Guest::new(&env);
    let mut native = env.iter().fold(mock::Host::new(), |host, (k, v)| host.env(k, v));
    let mut events: Vec<(&str, Vec<u8>)> = Vec::new();
    for station in ["seattle", "sf"] {
        let rows = rows(station);
        // Nine weeks, among them the missing hour and both kinds of alarm, and one reading that is late.
        let part = rows.iter().step_by(6).take(252).chain(&rows[4500..4700]).chain(&rows[100..101]);
        events.extend(part.map(|row| ("reading", row.payload(station))));
    }
    events.push(("reading", b"{\"device\":\"t\",\"t\":1,\"c\":1.5}".to_vec()));
    events.push(("reading", b"{\"device\":\"T\",\"t\":1,\"c\":1}".to_vec()));
    events.push(("door", Vec::new()));
    events.push(("door", vec![0; 100_000]));
    let mut published = 0;
    for (event_type, payload) in &events {
        let (export, wanted) = match *event_type {
            "reading" => ("reading", native.deliver(reading, event_type, payload)),
            _ => ("default", native.deliver(unknown, event_type, payload)),
        };
        let code = guest.call(export, event_type, payload);
        let shown = String::from_utf8_lossy(payload);
        assert_eq!(code, wanted.code, "{shown}");
        assert_eq!(guest.host.published, wanted.published, "{shown}");
        let logs: Vec<_> = wanted.logs.iter().map(|l| (l.level, l.text.clone())).collect();
        assert_eq!(guest.host.logs, logs, "{shown}");
        published += wanted.published.len();
    }
    assert!(published > 50, "the comparison saw alarms and summaries: {published}");
    assert_eq!(&guest.host.kv, native.state());
    assert_eq!(native.kv_text("unknown/door"), Some("2"));
}

#[test]
fn the_module_settles_what_the_native_code_settles_and_can_pay_for_it() {
    let mut guest = Guest::new(&[("settle", "true")]);
    let mut native = mock::Host::new().env("settle", "true").settlement("day", 9);
    let mut settled = 0;
    let (mut adding, mut closing) = (0, 0);
    for row in &rows("seattle")[..24 * 5 + 1] {
        let payload = row.payload("seattle");
        let from = sender(hour(row.time));
        native.set_sender(from.clone());
        guest.host.sender = from;
        let wanted = native.deliver(reading, "reading", &payload);
        assert_eq!(guest.call("reading", "reading", &payload), wanted.code);
        assert_eq!(guest.host.settled, wanted.settled);
        settled += wanted.settled.len();
        let most = if wanted.settled.is_empty() { &mut adding } else { &mut closing };
        *most = guest.host.fuel.max(*most);
    }
    assert_eq!(settled, 5);
    assert_eq!(&guest.host.kv, native.state());
    println!("fuel: {adding} for a reading, {closing} for closing a day");
    assert!(adding <= 1_000_000, "{adding} for a reading");
    assert!(closing <= 60_000_000, "{closing} for closing a day");
}

#[test]
fn the_module_is_small_and_asks_for_nothing_but_the_abi() {
    let guest = Guest::new(&[]);
    let size = std::fs::metadata(root().join("artefacts/cold-chain.wasm")).unwrap().len();
    assert!(size <= 48 * 1024, "{size} bytes");
    let foreign: Vec<_> = guest
        .module
        .imports()
        .filter(|i| i.module() != "env" || !i.name().starts_with("ws_"))
        .map(|i| format!("{}.{}", i.module(), i.name()))
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    let exports: Vec<_> = guest.module.exports().map(|e| e.name().to_owned()).collect();
    for wanted in ["memory", "alloc", "reading", "default"] {
        assert!(exports.iter().any(|e| e == wanted), "{wanted} is not among {exports:?}");
    }
}
