//! Against Mosquitto, which is killed, stopped and started again. `scripts/test-external-broker` runs these tests.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::net::{Ipv4Addr, TcpListener as StdListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use w3bstream_endpoint::conformance::messages;
use w3bstream_endpoint::{Endpoint as _, Publication, Publisher as _};
use w3bstream_endpoint_brokers::{BrokerConfig, BrokersConfig, BrokersEndpoint, Credentials, Delivery};
use w3bstream_tasks::Tasks;
use w3bstream_tls::{ClientSettings, Identity};
use w3bstream_types::{MessageId, RefusalKind, Submission};

use crate::fake::{ALL, TOPIC, V5, accept, body, metrics, next, open, packet, quick, refused, text, until};

fn run<F: Future>(future: F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { timeout(Duration::from_secs(120), future).await.expect("the test hangs") });
}

struct Mosquitto {
    folder: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Mosquitto {
    /// With persistence. `more` is written into its settings; `{dir}` stands for its folder.
    async fn start(more: &str) -> Self {
        Self::with_files(more, &[]).await
    }

    async fn with_files(more: &str, files: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let dir = folder.path().display().to_string();
        let settings = format!(
            "listener {port} 127.0.0.1\nuser root\npersistence true\npersistence_location {dir}/\nmax_queued_messages 0\n{}\n",
            more.replace("{dir}", &dir)
        );
        fs::write(folder.path().join("mosquitto.conf"), settings).unwrap();
        for (name, contents) in files {
            fs::write(folder.path().join(name), contents).unwrap();
        }
        let child = Self::spawn(&folder);
        let mut mosquitto = Self { folder, port, child };
        mosquitto.ready().await;
        mosquitto
    }

    fn spawn(folder: &tempfile::TempDir) -> Child {
        Command::new("mosquitto")
            .arg("-c")
            .arg(folder.path().join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .expect("mosquitto is installed: scripts/test-external-broker does it")
    }

    async fn ready(&mut self) {
        for _ in 0..500 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("mosquitto does not start: {:?}", fs::read_to_string(self.path("log")));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// As its service manager stops it: it writes what it has.
    fn stop(&mut self) {
        let done = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(done.success());
        self.child.wait().unwrap();
    }

    /// As the power fails.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    async fn again(&mut self) {
        self.child = Self::spawn(&self.folder);
        self.ready().await;
    }

    fn broker(&self, client_id: &str) -> BrokerConfig {
        BrokerConfig::new("mosquitto", format!("mqtt://127.0.0.1:{}", self.port), client_id)
    }
}

/// A device that keeps each message until the broker has acknowledged it, and sends it again on the next connection.
struct Device {
    port: u16,
    acknowledged: BTreeSet<MessageId>,
}

impl Device {
    async fn send(&mut self, first: u32, count: u32) {
        let mut left: VecDeque<(MessageId, Vec<u8>)> = messages(first, count)
            .iter()
            .map(|received| {
                let Submission::Signed(record) = &received.submission else { panic!("devices sign") };
                (record.id(), body(received))
            })
            .collect();
        while !left.is_empty() {
            if self.session(&mut left).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// One connection; an error when it ends before everything is acknowledged.
    async fn session(&mut self, left: &mut VecDeque<(MessageId, Vec<u8>)>) -> std::io::Result<()> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
        let connect = [text("MQTT"), vec![4, 2, 0, 60], text("device")].concat();
        stream.write_all(&packet(0x10, &connect)).await?;
        let mut four = [0; 4];
        stream.read_exact(&mut four).await?;
        assert_eq!(four, [0x20, 2, 0, 0]);
        while !left.is_empty() {
            let batch = left.len().min(50);
            for (id, (_, body)) in (1_u16..).zip(left.iter().take(batch)) {
                let publish = [text(TOPIC), id.to_be_bytes().to_vec(), body.clone()].concat();
                stream.write_all(&packet(0x32, &publish)).await?;
            }
            for _ in 0..batch {
                stream.read_exact(&mut four).await?;
                assert_eq!(four[..2], [0x40, 2]);
                let (id, _) = left.pop_front().unwrap();
                self.acknowledged.insert(id);
            }
        }
        Ok(())
    }
}

/// A node that takes everything, and remembers how often.
struct Node {
    endpoint: Arc<BrokersEndpoint>,
    accepted: Arc<Mutex<BTreeMap<MessageId, u32>>>,
    _tasks: Tasks,
}

impl Node {
    fn start(config: BrokersConfig, accepted: &Arc<Mutex<BTreeMap<MessageId, u32>>>) -> Self {
        let (endpoint, accepted) = (open(config), Arc::clone(accepted));
        let tasks = Tasks::new("node");
        let (taking, stored) = (Arc::clone(&endpoint), Arc::clone(&accepted));
        tasks.spawn("takes", async move {
            while let Some(arrival) = taking.next().await {
                let Submission::Signed(record) = &arrival.received.submission else { panic!("devices sign") };
                *stored.lock().unwrap().entry(record.id()).or_default() += 1;
                accept(arrival);
            }
        });
        Self { endpoint, accepted, _tasks: tasks }
    }

    async fn online(&self) {
        until("the connection", || self.endpoint.status()[0].connected).await;
    }

    async fn has(&self, all: &BTreeSet<MessageId>) {
        for _ in 0..2000 {
            if all.iter().all(|id| self.accepted.lock().unwrap().contains_key(id)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let accepted = self.accepted.lock().unwrap();
        let missing = all.iter().filter(|id| !accepted.contains_key(*id)).count();
        panic!("{missing} of {} are lost; {:?}", all.len(), self.endpoint.status());
    }
}

const OPEN: &str = "allow_anonymous true";

#[test]
#[ignore = "needs Mosquitto: scripts/test-external-broker"]
fn a_broker_that_is_restarted_mid_stream_loses_nothing() {
    run(async {
        for speech in ALL {
            let mut mosquitto = Mosquitto::start(OPEN).await;
            let config =
                BrokerConfig { version: speech.version, qos: speech.qos, ..mosquitto.broker("node-1") };
            let node = Node::start(quick(config), &Arc::default());
            node.online().await;
            let mut device = Device { port: mosquitto.port, acknowledged: BTreeSet::new() };
            let sending = device.send(0, 3000);
            let restarting = async {
                for _ in 0..3 {
                    tokio::time::sleep(Duration::from_millis(150)).await;
                    mosquitto.stop();
                    mosquitto.again().await;
                }
            };
            tokio::join!(sending, restarting);
            node.has(&device.acknowledged).await;
            assert_eq!(device.acknowledged.len(), 3000);
            let counted = metrics(&node.endpoint);
            assert_eq!(counted.sessions_lost, 0, "{counted:?}");
            println!(
                "{speech:?}: 3000 of 3000, {} connections, {} sent again",
                counted.connects, counted.redelivered
            );
            node.endpoint.close().await.unwrap();
        }
    });
}

#[test]
#[ignore = "needs Mosquitto: scripts/test-external-broker"]
fn what_a_killed_broker_had_acknowledged_is_lost_and_seen() {
    run(async {
        let mut mosquitto = Mosquitto::start(OPEN).await;
        let accepted = Arc::default();
        let node = Node::start(quick(mosquitto.broker("node-1")), &accepted);
        node.online().await;
        // The node is held up, so the messages wait at the broker.
        let endpoint = open(quick(BrokerConfig { max_in_flight: 1, ..mosquitto.broker("node-2") }));
        until("the connection", || endpoint.status()[0].connected).await;
        let mut device = Device { port: mosquitto.port, acknowledged: BTreeSet::new() };
        device.send(0, 100).await;
        node.has(&device.acknowledged).await;
        mosquitto.kill();
        mosquitto.again().await;
        until("the loss is seen", || metrics(&endpoint).sessions_lost == 1).await;
        let mut taken = 0;
        while let Ok(Some(arrival)) = timeout(Duration::from_secs(1), endpoint.next()).await {
            accept(arrival);
            taken += 1;
        }
        println!("killed before it saved: node-2 got {taken} of the 100 that the device had acknowledged");
        assert!(taken < 100, "Mosquitto saves by interval, and docs/external-brokers.md says so");
    });
}

#[test]
#[ignore = "needs Mosquitto: scripts/test-external-broker"]
fn what_a_killed_node_had_not_acknowledged_comes_again() {
    run(async {
        for speech in ALL {
            let mosquitto = Mosquitto::start(OPEN).await;
            let config =
                || BrokerConfig { version: speech.version, qos: speech.qos, ..mosquitto.broker("node-1") };
            let endpoint = open(quick(config()));
            until("the connection", || endpoint.status()[0].connected).await;
            let mut device = Device { port: mosquitto.port, acknowledged: BTreeSet::new() };
            device.send(0, 10).await;
            let mut held = Vec::new();
            for _ in 0..10 {
                held.push(next(&endpoint).await);
            }
            // Dropped: cut in the midst of its work, as the end of its process would.
            drop(endpoint);
            drop(held);
            let node = Node::start(quick(config()), &Arc::default());
            node.has(&device.acknowledged).await;
            let counted = metrics(&node.endpoint);
            assert_eq!(counted.redelivered, 10, "{counted:?}");
            // And acknowledged now: a third node is sent none of them.
            until("the acknowledgements", || metrics(&node.endpoint).acknowledged == 10).await;
            node.endpoint.close().await.unwrap();
            let endpoint = open(quick(config()));
            until("the connection", || endpoint.status()[0].connected).await;
            assert!(timeout(Duration::from_millis(300), endpoint.next()).await.is_err());
        }
    });
}

#[test]
#[ignore = "needs Mosquitto: scripts/test-external-broker"]
fn a_transient_refusal_is_sent_again_by_the_broker() {
    run(async {
        for speech in ALL {
            let mosquitto = Mosquitto::start(OPEN).await;
            let config =
                BrokerConfig { version: speech.version, qos: speech.qos, ..mosquitto.broker("node-1") };
            let endpoint = open(quick(config));
            until("the connection", || endpoint.status()[0].connected).await;
            let mut device = Device { port: mosquitto.port, acknowledged: BTreeSet::new() };
            device.send(0, 3).await;
            accept(next(&endpoint).await);
            next(&endpoint).await.ack.answer(refused(RefusalKind::Overloaded));
            next(&endpoint).await.ack.answer(refused(RefusalKind::UnknownDevice));
            accept(next(&endpoint).await);
            until("all three", || metrics(&endpoint).acknowledged == 3).await;
            let counted = metrics(&endpoint);
            assert_eq!(
                (counted.accepted, counted.ended_transient, counted.connects),
                (2, 1, 2),
                "{counted:?}"
            );
        }
    });
}

#[test]
#[ignore = "needs Mosquitto: scripts/test-external-broker"]
fn two_nodes_split_the_load_and_one_that_dies_loses_nothing() {
    run(async {
        let mosquitto = Mosquitto::start(OPEN).await;
        let share = |id: &str| {
            quick(BrokerConfig { share: Some("nodes".to_owned()), max_in_flight: 20, ..mosquitto.broker(id) })
        };
        let accepted = Arc::default();
        let first = Node::start(share("node-1"), &accepted);
        first.online().await;
        let second = open(share("node-2"));
        until("the connection", || second.status()[0].connected).await;
        let mut device = Device { port: mosquitto.port, acknowledged: BTreeSet::new() };
        // The second takes ten, acknowledges none and dies; the first goes on.
        device.send(0, 200).await;
        let mut held = Vec::new();
        for _ in 0..10 {
            held.push(next(&second).await);
        }
        drop(second);
        drop(held);
        device.send(200, 800).await;
        until("what the first gets alone", || metrics(&first.endpoint).accepted > 100).await;
        let alone = metrics(&first.endpoint).accepted;
        // It comes back under its own name and finds what waits for it.
        let second = Node::start(share("node-2"), &accepted);
        second.online().await;
        device.send(1000, 1000).await;
        second.has(&device.acknowledged).await;
        let (one, two) = (metrics(&first.endpoint).accepted, metrics(&second.endpoint).accepted);
        println!("2000 of 2000: {one} by the first ({alone} while alone), {two} by the second");
        assert!(one > 400 && two > 400, "both worked: {one} and {two}");
        assert!(accepted.lock().unwrap().len() == 2000);
    });
}

struct Certificates {
    authority: String,
    server: (String, String),
    node: (String, String),
}

fn certificates() -> Certificates {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let issue = |name: &str| {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &authority).unwrap().pem(), key.serialize_pem())
    };
    Certificates { authority: authority.pem(), server: issue("127.0.0.1"), node: issue("node-1") }
}

#[test]
#[ignore = "needs Mosquitto: scripts/test-external-broker"]
fn tls_with_a_certificate_of_the_node() {
    run(async {
        let made = certificates();
        let settings = "allow_anonymous false\nuse_identity_as_username true\nrequire_certificate true\ncafile {dir}/ca.pem\ncertfile {dir}/server.pem\nkeyfile {dir}/server-key.pem\nacl_file {dir}/acl";
        let mosquitto = Mosquitto::with_files(
            settings,
            &[
                ("ca.pem", made.authority),
                ("server.pem", made.server.0),
                ("server-key.pem", made.server.1),
                ("node.pem", made.node.0),
                ("node-key.pem", made.node.1),
                ("acl", "user node-1\ntopic readwrite w3b/#\n".to_owned()),
            ],
        )
        .await;
        let url = format!("mqtts://127.0.0.1:{}", mosquitto.port);
        let tls = ClientSettings {
            authorities: Some(mosquitto.path("ca.pem")),
            identity: Some(Identity {
                certificate: mosquitto.path("node.pem"),
                key: mosquitto.path("node-key.pem"),
            }),
            ..ClientSettings::default()
        };
        let broker = BrokerConfig { tls: tls.clone(), ..BrokerConfig::new("secure", url, "node-1") };
        let node = Node::start(quick(broker.clone()), &Arc::default());
        node.online().await;
        // It hears itself, since a device's topic is no different for the broker.
        let received = &messages(0, 1)[0];
        let publication =
            Publication { topic: TOPIC.to_owned(), payload: body(received), idempotency_key: String::new() };
        node.endpoint.publish(publication).await.unwrap();
        let Submission::Signed(record) = &received.submission else { panic!("devices sign") };
        node.has(&BTreeSet::from([record.id()])).await;

        let nobody = open(quick(BrokerConfig {
            client_id: "node-2".to_owned(),
            tls: ClientSettings { identity: None, ..tls.clone() },
            ..broker.clone()
        }));
        until("the refusal", || nobody.status()[0].last_error.is_some()).await;
        let system = ClientSettings { authorities: None, ..tls };
        let distrusts = open(quick(BrokerConfig { client_id: "node-3".to_owned(), tls: system, ..broker }));
        until("the refusal", || distrusts.status()[0].last_error.is_some()).await;
        let why = distrusts.status()[0].last_error.clone().unwrap();
        assert!(why.contains("tls:"), "{why}");
        assert_eq!((metrics(&nobody).connects, metrics(&distrusts).connects), (0, 0));
    });
}

#[test]
#[ignore = "needs Mosquitto: scripts/test-external-broker"]
fn a_user_and_a_password() {
    run(async {
        for speech in [V5, ALL[2]] {
            let folder = tempfile::tempdir().unwrap();
            let passwords = folder.path().join("passwords");
            let mut command = Command::new("mosquitto_passwd");
            let made = command.args(["-b", "-c"]).arg(&passwords).args(["node", "right"]).status();
            assert!(made.unwrap().success());
            let contents = fs::read_to_string(&passwords).unwrap();
            let settings = "allow_anonymous false\npassword_file {dir}/passwords";
            let mosquitto = Mosquitto::with_files(settings, &[("passwords", contents)]).await;
            let with = |password: &str, id: &str| {
                let credentials = Credentials { user: "node".to_owned(), password: password.to_owned() };
                open(quick(BrokerConfig {
                    version: speech.version,
                    qos: Delivery::AtLeastOnce,
                    credentials: Some(credentials),
                    ..mosquitto.broker(id)
                }))
            };
            let (right, wrong) = (with("right", "node-1"), with("wrong", "node-2"));
            until("the connection", || right.status()[0].connected).await;
            until("the refusal", || wrong.status()[0].last_error.is_some()).await;
            let why = wrong.status()[0].last_error.clone().unwrap();
            assert!(why.contains("NotAuthorized"), "{why}");
        }
    });
}
