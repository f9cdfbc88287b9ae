//! The example applets, from their committed modules, through the engine that nodes have: in every language each does the same,
//! and what its page says.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use w3bstream_engine::{Call, Engine as _, Error, HostState, Module, Outcome, Source};
use w3bstream_engine_wasmer::{WasmerConfig, WasmerEngine};
use w3bstream_node::ManifestFile;
use w3bstream_types::{
    Control, DeviceRegistration, Did, Digest, GuestLimits, OutputKind, SqlBudget, SqlOutcome, SqlRows,
    SqlStatement, SqlValue,
};

use crate::support::{Device, Home};

const LANGUAGES: [&str; 3] = ["rust", "c", "assemblyscript"];

/// Keys of an applet, and the statements that it ran; each gives a row.
#[derive(Default)]
struct Keys(BTreeMap<Vec<u8>, Vec<u8>>, Vec<SqlStatement>);

impl HostState for Keys {
    fn kv_get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.get(key).cloned())
    }

    fn has_database(&self) -> bool {
        true
    }

    fn sql(&mut self, statement: &SqlStatement, _: &SqlBudget) -> Result<SqlOutcome, Error> {
        self.1.push(statement.clone());
        let columns = ["n", "low", "high"].map(str::to_owned).into();
        let row = [2, -4, 21].map(SqlValue::Integer).into();
        Ok(SqlOutcome { gas: 10, result: Ok(SqlRows { columns, rows: vec![row] }) })
    }
}

/// One module with its state.
struct Applet {
    language: &'static str,
    module: Arc<dyn Module>,
    keys: Keys,
}

/// An example in all languages.
struct Example {
    applets: Vec<Applet>,
    env: Vec<(String, String)>,
}

impl Example {
    fn load(name: &str) -> Self {
        let engine = WasmerEngine::new(&WasmerConfig::default());
        let applet = |language: &'static str| {
            let file = format!("../artefacts/applets/{name}.{language}.wasm");
            let module = engine.load(&std::fs::read(&file).expect(&file)).expect(&file);
            Applet { language, module, keys: Keys::default() }
        };
        Self { applets: LANGUAGES.map(applet).into(), env: Vec::new() }
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self.env.sort();
        self
    }

    /// Calls a handler in every language. All must do the same; what they log of a failure is their own.
    fn call(&mut self, handler: &str, event_type: &str, payload: &[u8]) -> Outcome {
        let event_type = event_type.parse().expect("a label");
        let limits = GuestLimits::default();
        let call = Call {
            handler,
            event_type: &event_type,
            payload,
            rid: 7,
            env: &self.env,
            source: Source::default(),
            settlements: &[],
            chains: &[],
            triggers: &[],
            id: Digest::ZERO,
            limits: &limits,
        };
        let mut first: Option<Outcome> = None;
        for applet in &mut self.applets {
            let outcome = applet.module.call(call, &mut applet.keys).expect("an outcome");
            applet.keys.0.extend(outcome.writes.clone());
            assert!(outcome.gas < 20_000_000, "{} used {} gas", applet.language, outcome.gas);
            let Some(first) = &first else {
                first = Some(outcome);
                continue;
            };
            let shown = String::from_utf8_lossy(payload);
            assert_eq!(first.result, outcome.result, "{} on {shown}: {:?}", applet.language, outcome.logs);
            assert_eq!(first.writes, outcome.writes, "{} on {shown}", applet.language);
            assert_eq!(first.outputs, outcome.outputs, "{} on {shown}", applet.language);
            if outcome.result == Ok(0) {
                assert_eq!(first.logs, outcome.logs, "{} on {shown}", applet.language);
            }
        }
        first.expect("at least one language")
    }

    fn key(&self, key: &str) -> Option<String> {
        let value = self.applets[0].keys.0.get(key.as_bytes())?;
        Some(String::from_utf8(value.clone()).expect("text"))
    }
}

/// The MQTT messages of an outcome.
fn published(outcome: &Outcome) -> Vec<(String, Value)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let messages = outcome.outputs.iter().filter(|o| o.kind == OutputKind::Mqtt);
    messages.map(|o| (text(&o.target), serde_json::from_slice(&o.data).expect("JSON"))).collect()
}

#[test]
fn log_writes_type_and_payload() {
    let mut example = Example::load("log");
    for payload in ["hello", "", "a \"quoted\" line", "Zürich, 3 °C"] {
        let outcome = example.call("received", "greeting", payload.as_bytes());
        let lines: Vec<_> = outcome.logs.iter().map(|l| (l.level, l.text.clone())).collect();
        assert_eq!((outcome.result, lines), (Ok(0), vec![(4, format!("greeting: {payload}"))]));
    }
}

#[test]
fn counter_counts_by_type() {
    let mut example = Example::load("counter");
    for event_type in ["door", "light", "door"] {
        assert_eq!(example.call("count", event_type, b"whatever").result, Ok(0));
    }
    let counts = ["count", "count/door", "count/light"].map(|key| example.key(key).expect("a count"));
    assert_eq!(counts, ["3", "2", "1"]);
}

#[test]
fn word_count_counts_words_and_refuses_long_texts() {
    let mut example = Example::load("word-count");
    let text = "The cat, the CAT's hat; caf\u{e9} 7";
    assert_eq!(example.call("count", "text", text.as_bytes()).result, Ok(0));
    let counts =
        ["word/the", "word/cat", "word/s", "word/caf\u{e9}", "total"].map(|key| example.key(key).unwrap());
    assert_eq!(counts, ["2", "2", "1", "1", "8"]);
    // The page of these examples itself, and the ends of what is allowed.
    let page = std::fs::read("../examples/applets/README.md").unwrap();
    let begin = page.iter().copied().take(4_000).collect::<Vec<_>>();
    assert_eq!(example.call("count", "text", &begin).result, Ok(0));
    for odd in ["", "...", "a", "-a-", &"x".repeat(64), &"x".repeat(65), "\u{1F600}b"] {
        assert_eq!(example.call("count", "text", odd.as_bytes()).result, Ok(0), "{odd}");
    }
    assert!(example.key(&format!("word/{}", "x".repeat(64))).is_some());
    assert!(example.key(&format!("word/{}", "x".repeat(65))).is_none());
    let before = example.key("total");
    let outcome = example.call("count", "text", "a ".repeat(2_001).as_bytes());
    assert_eq!((outcome.result, example.key("total")), (Ok(3), before));
}

#[test]
fn sql_stores_what_it_is_given_and_reports_what_the_database_says() {
    let mut example = Example::load("sql");
    let odd = "d\"1\\";
    let reading = json!({ "device": "d1", "value": -4 }).to_string();
    assert_eq!(example.call("store", "reading", reading.as_bytes()).result, Ok(0));
    let outcome = example.call("report", "report", json!({ "device": "d1" }).to_string().as_bytes());
    let row = json!({ "n": 2, "low": -4, "high": 21 });
    assert_eq!((outcome.result, published(&outcome)), (Ok(0), vec![("reports/d1".to_owned(), row)]));
    for applet in &example.applets {
        let [insert, query] = applet.keys.1.as_slice() else { panic!("{:?}", applet.keys.1) };
        assert_eq!(
            insert.params,
            [SqlValue::Text("d1".into()), SqlValue::Integer(-4)],
            "{}",
            applet.language
        );
        assert_eq!(query.params, [SqlValue::Text("d1".into())], "{}", applet.language);
        assert_eq!(insert.text, "INSERT INTO readings (device, value) VALUES (?, ?)", "{}", applet.language);
    }
    for payload in
        ["", "{}", r#"{"device":"d1","value":"x"}"#, r#"{"value":1}"#, r#"{"device":"d","value":1e3}"#]
    {
        assert_eq!(example.call("store", "reading", payload.as_bytes()).result, Ok(-2), "{payload}");
    }
    // Texts with escapes are read by Rust and AssemblyScript; the kit for C refuses them, as its page says.
    example.applets.retain(|applet| applet.language != "c");
    let reading = json!({ "device": odd, "value": 1 }).to_string();
    assert_eq!(example.call("store", "reading", reading.as_bytes()).result, Ok(0));
    for applet in &example.applets {
        let last = applet.keys.1.last().map(|s| s.params.clone());
        assert_eq!(last, Some(vec![SqlValue::Text(odd.into()), SqlValue::Integer(1)]), "{}", applet.language);
    }
}

/// The old town of Zurich, as the example's manifest has it.
const FENCE: &str = "47377500,8539000;47376500,8545500;47369500,8546500;47367000,8541000;47372500,8537500";

fn position(lat: i64, lon: i64) -> String {
    json!({ "device": "tram 4", "lat": lat, "lon": lon }).to_string()
}

#[test]
fn geofence_tells_of_entering_and_leaving() {
    let manifest = std::fs::read_to_string("../examples/applets/geofence/w3bstream.toml").unwrap();
    assert!(manifest.contains(FENCE));
    let mut example = Example::load("geofence").env("fence", FENCE);
    for (lat, lon, said) in [
        (47_378_000, 8_540_000, None),
        (47_372_000, 8_542_000, Some("entered")),
        (47_370_000, 8_541_500, None),
        (47_366_000, 8_545_000, Some("left")),
        (-47_366_000, -8_545_000, None),
    ] {
        let outcome = example.call("position", "position", position(lat, lon).as_bytes());
        let expected: Vec<_> = said
            .map(|event| {
                let message = json!({ "device": "tram 4", "event": event, "lat": lat, "lon": lon });
                ("fence/tram 4".to_owned(), message)
            })
            .into_iter()
            .collect();
        assert_eq!((outcome.result, published(&outcome)), (Ok(0), expected), "{lat} {lon}");
    }
    // Every point of a grid lies on the same side in all languages, those on corners and edges too.
    for lat in (47_366_500..47_378_500).step_by(500) {
        for lon in (8_537_000..8_547_000).step_by(500) {
            assert_eq!(example.call("position", "position", position(lat, lon).as_bytes()).result, Ok(0));
        }
    }
    for (payload, code) in [
        (position(90_000_001, 0), 3),
        (position(0, -180_000_001), 3),
        ("{}".to_owned(), -2),
        ("[]".to_owned(), -2),
        (String::new(), -2),
        (r#"{"device":"a","lat":1.5,"lon":2}"#.to_owned(), -2),
        (r#"{"device":7,"lat":1,"lon":2}"#.to_owned(), -2),
        (r#"{"device":"a","lat":1,"lon":2"#.to_owned(), -2),
        (r#"{"device":"a","lat":1,"lon":9223372036854775808}"#.to_owned(), -2),
    ] {
        assert_eq!(example.call("position", "position", payload.as_bytes()).result, Ok(code), "{payload}");
    }
    for fence in ["", "0,0;1,1", "0,0;1,1;2", "0,0;1,1;x,2", "0,0;1,1;2,2;", "0,0;0,1;91000000,1"] {
        let mut example = Example::load("geofence").env("fence", fence);
        let outcome = example.call("position", "position", position(1, 1).as_bytes());
        assert_eq!(outcome.result, Ok(1), "{fence}");
    }
}

/// The messages of a weather station, hour by hour: hundredths of what each sensor gave, nothing where it gave nothing.
fn weather() -> Vec<(String, String)> {
    let text = std::fs::read_to_string("../data/newark-weather.csv").unwrap();
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let names = lines.next().unwrap();
    let message = |(row, cells): (usize, Vec<&str>)| {
        let mut members = vec![format!("\"t\":{}", 1_357_020_000_000_u64 + 3_600_000 * row as u64)];
        for (name, cell) in names.iter().zip(&cells).skip(1).filter(|(_, cell)| **cell != "NA") {
            members.push(format!("\"{name}\":{}", (cell.parse::<f64>().unwrap() * 100.0).round()));
        }
        (cells[0].to_owned(), format!("{{{}}}", members.join(",")))
    };
    lines.enumerate().map(message).collect()
}

#[test]
fn anomaly_finds_the_one_impossible_wind_in_three_months_of_weather() {
    let mut example = Example::load("anomaly").env("limit", "8").env("warm_up", "48").env("floor", "100");
    let weather = weather();
    assert_eq!(weather.len(), 2_154);
    let mut found = Vec::new();
    for (hour, payload) in &weather {
        let outcome = example.call("reading", "reading", payload.as_bytes());
        assert_eq!(outcome.result, Ok(0), "{payload}");
        found.extend(published(&outcome).into_iter().map(|(topic, message)| (hour.as_str(), topic, message)));
    }
    let (hour, topic, message) = found.pop().expect("an anomaly");
    assert!(found.is_empty(), "{found:?}");
    assert_eq!((hour, topic.as_str()), ("2013-02-12T08:00:00Z", "anomalies/wind_speed"));
    // 1,048 mph, where 5 to 6 were usual.
    assert_eq!(
        (&message["v"], &message["expected"], &message["spread"]),
        (&json!(104_836), &json!(565), &json!(452))
    );
    let learned =
        |sensor: &str| example.key(&format!("s/{sensor}")).unwrap().split(' ').next().unwrap().to_owned();
    assert_eq!(["temp", "wind_speed", "pressure"].map(learned), ["2154", "2153", "1916"]);
    assert_eq!(example.key("anomalies").as_deref(), Some("1"));
}

#[test]
fn anomaly_refuses_what_is_no_reading() {
    let mut example = Example::load("anomaly");
    for (payload, code) in [
        (r#"{"t":1,"a":-5,"note":"x","ok":true,"none":null}"#, 0),
        (r#" { "t" : 2 , "a" : 7 } "#, 0),
        (r#"{"t":1,"a":1,"b":1000000000001}"#, 3),
        (r#"{"t":1,"b":-1000000000001}"#, 3),
        (r#"{"a":1}"#, -2),
        (r#"{"t":"1","a":1}"#, -2),
        (r#"{"t":1,"a":1}x"#, -2),
        (r#"{"t":1,"a":1,}"#, -2),
        (r#"{"t":1,"t":2}"#, -2),
    ] {
        assert_eq!(example.call("reading", "reading", payload.as_bytes()).result, Ok(code), "{payload}");
    }
    assert_eq!(example.key("s/a").as_deref(), Some("2 -1088 192"));
    for (name, value) in [("limit", "0"), ("limit", "1001"), ("warm_up", "x"), ("floor", "-1")] {
        let outcome =
            Example::load("anomaly").env(name, value).call("reading", "reading", b"{\"t\":1,\"a\":1}");
        assert_eq!(outcome.result, Ok(1), "{name} {value}");
    }
}

/// Deploys an example's folder as it is, under its own name, and gives a device of it.
async fn deploy(home: &Home, process: &crate::support::Process, name: &str, project: &Path) -> (Device, Url) {
    let (deployed, shown) = home.cli(&["project", "deploy"], project);
    assert!(deployed, "{name}: {shown}");
    let device = Device::new("device").unwrap();
    let registration =
        DeviceRegistration { device: device.key.did(), key: device.key.public(), event_types: vec![] };
    let change = Control::RegisterDevice(registration);
    process.admin.change(&name.parse().unwrap(), change, &home.owner).await.unwrap();
    let id = w3bstream_types::ProjectId::new(&Did::key(&home.owner.public()), &name.parse().unwrap());
    (device, Url { events: format!("{}/v1/projects/{name}/events", process.running.http), id })
}

/// Where a project takes events.
struct Url {
    events: String,
    id: w3bstream_types::ProjectId,
}

impl Url {
    async fn send(&self, device: &Device, counter: u32, (event_type, payload): (&str, &str)) -> Value {
        let message = device.message_of(self.id, counter, (event_type, payload.as_bytes().to_vec()));
        let kind = [(hyper::header::CONTENT_TYPE, w3bstream_wire::CONTENT_TYPE_ENVELOPE.to_owned())];
        let body = w3bstream_wire::encode_envelope(&message);
        let http = w3bstream_node::Http::default();
        let answer = http.send((hyper::Method::POST, &self.events), &kind, body).await.unwrap();
        answer.ok().unwrap().json().unwrap()
    }
}

#[test]
fn every_example_deploys_on_a_node_and_runs() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let home = Home::new().unwrap();
        let process = home.start(&[]).await.unwrap();
        for (name, event) in [
            ("log", ("greeting", "hello")),
            ("counter", ("door", "")),
            ("word-count", ("text", "to be or not to be")),
            ("geofence", ("position", r#"{"device":"cat","lat":47372000,"lon":8542000}"#)),
            ("anomaly", ("reading", r#"{"t":1,"temp":2}"#)),
        ] {
            let folder = Path::new("../examples/applets").join(name);
            let (device, url) = deploy(&home, &process, name, &folder).await;
            let answer = url.send(&device, 0, event).await;
            assert_eq!(answer["results"][0]["code"], 0, "{name}: {answer}");
        }
        sql_in_every_language(&home, &process).await;
        assert!(process.terminate().await.unwrap().success());
    });
}

/// The example with a database, deployed three times in one project: they share its table.
async fn sql_in_every_language(home: &Home, process: &crate::support::Process) {
    let example = Path::new("../examples/applets/sql");
    let text = std::fs::read_to_string(example.join("w3bstream.toml")).unwrap();
    let file = ManifestFile::parse(&text, "w3bstream.toml").unwrap();
    let project = home.project_dir().unwrap();
    let mut manifest = String::from("name = \"sql\"\nack = \"executed\"\n");
    for language in LANGUAGES {
        let module = format!("sql.{language}.wasm");
        std::fs::copy(Path::new("../artefacts/applets").join(&module), project.join(&module)).unwrap();
        manifest.push_str(&format!("[[applets]]\nname = \"{language}\"\nmodule = \"{module}\"\nroutes = ["));
        for route in &file.applets[0].routes {
            manifest.push_str(&format!(
                "{{ event-type = \"{}\", handler = \"{}\" }}, ",
                route.event_type, route.handler
            ));
        }
        manifest.push_str("]\n");
    }
    manifest.push_str(&text[text.find("[[database").unwrap()..]);
    std::fs::write(project.join("w3bstream.toml"), manifest).unwrap();
    let (device, url) = deploy(home, process, "sql", &project).await;
    let codes = |answer: Value| -> Vec<Value> {
        answer["results"].as_array().unwrap().iter().map(|r| r["code"].clone()).collect()
    };
    let readings = [
        ("d1", r#"{"device":"d1","value":21}"#, 0),
        ("d1", r#"{"device":"d1","value":-4}"#, 0),
        ("d2", r#"{"device":"d2","value":9}"#, 0),
        ("d1", r#"{"device":"d1","value":"x"}"#, -2),
    ];
    for (counter, (_, payload, code)) in (0..).zip(readings) {
        assert_eq!(codes(url.send(&device, counter, ("reading", payload)).await), [code; 3], "{payload}");
    }
    let (done, shown) =
        home.cli(&["project", "sql", "sql"], "SELECT device, value FROM readings ORDER BY id");
    let rows: Value = serde_json::from_str(&shown).unwrap();
    let each = |device: &str, value: i64| vec![json!([device, value]); 3];
    let expected = [each("d1", 21), each("d1", -4), each("d2", 9)].concat();
    assert!(done && rows["rows"] == json!(expected), "{shown}");
    assert_eq!(codes(url.send(&device, 9, ("report", r#"{"device":"d1"}"#)).await), [0; 3]);
}
