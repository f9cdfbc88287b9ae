//! What a client has shown is revoked while it is connected.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpStream;
use w3bstream_endpoint::{Access, Credentials, Gate, Principal, Publication, Publisher as _, async_trait};
use w3bstream_endpoint_mqtt::{
    BoxedStream, Listener, MqttConfig, MqttEndpoint, PeerInfo, Secure, Shown, Transport,
};
use w3bstream_types::{Refusal, SystemClock};

use crate::support::{Client, Hello, block_on, config, counted};

/// Gives each client the topics under `out/`, and forgets those on the list; on the list `out/x` is a topic.
#[derive(Debug, Default)]
struct Door(Mutex<HashSet<String>>);

impl Door {
    fn revoke(&self, name: &str) {
        self.0.lock().unwrap().insert(name.to_owned());
    }

    fn has_revoked(&self, name: &str) -> bool {
        self.0.lock().unwrap().contains(name)
    }
}

#[async_trait]
impl Gate for Door {
    async fn admit(&self, shown: Credentials) -> Result<Access, Refusal> {
        let mut access = Access::everything();
        if shown.client_id != "nobody" {
            access.principal = Principal::User(shown.client_id);
        }
        access.subscribe = ["out/x", "out/y"].map(str::to_owned).into();
        access.subscribe.retain(|topic| !self.has_revoked(topic));
        Ok(access)
    }

    fn holds(&self, access: &Access) -> bool {
        match &access.principal {
            Principal::User(name) => !self.has_revoked(name),
            other => panic!("{other} has shown nothing that could be revoked"),
        }
    }
}

#[async_trait]
impl Secure for Door {
    async fn accept(&self, stream: TcpStream) -> Result<(BoxedStream, PeerInfo), String> {
        let shown: Option<Arc<dyn Shown>> = Some(Arc::new(Certificate(Arc::default())));
        Ok((Box::pin(stream), PeerInfo { certificate_dids: vec![], shown }))
    }
}

/// Holds for the first two times that it is asked.
#[derive(Debug)]
struct Certificate(Arc<Mutex<u32>>);

impl Shown for Certificate {
    fn holds(&self) -> bool {
        let mut asked = self.0.lock().unwrap();
        *asked += 1;
        *asked <= 2
    }
}

async fn endpoint(door: &Arc<Door>) -> Arc<MqttEndpoint> {
    let tls = Listener { address: "127.0.0.1:0".parse().unwrap(), transport: Transport::Tls };
    let config = MqttConfig { recheck_every: Duration::from_millis(50), more: vec![tls], ..config() };
    let (gate, secure): (Arc<dyn Gate>, Arc<dyn Secure>) = (door.clone(), door.clone());
    MqttEndpoint::bind_with(config, Arc::new(SystemClock), gate, Some(secure)).await.unwrap()
}

async fn send(endpoint: &MqttEndpoint, topic: &str) {
    let publication =
        Publication { topic: topic.into(), payload: b"x".to_vec(), idempotency_key: String::new() };
    endpoint.publish(publication).await.unwrap();
}

#[test]
fn a_connection_whose_right_was_revoked_is_ended_and_no_other() {
    block_on(async {
        let door = Arc::new(Door::default());
        let endpoint = endpoint(&door).await;
        let mut first = Client::connect(&endpoint, &Hello::new(true, "first")).await;
        let mut older = Client::connect(&endpoint, &Hello::new(false, "older")).await;
        let mut stays = Client::connect(&endpoint, &Hello::new(true, "stays")).await;
        let mut nobody = Client::connect(&endpoint, &Hello::new(true, "nobody")).await;
        assert!(first.is_quiet().await && older.is_quiet().await);
        door.revoke("first");
        assert_eq!(first.goodbye().await, Some(0x87));
        door.revoke("older");
        assert_eq!(older.goodbye().await, None);
        assert!(stays.is_quiet().await && nobody.is_quiet().await);
        counted(&endpoint, |m| m.connections_now == 2).await;
    });
}

#[test]
fn a_connection_whose_certificate_is_good_no_longer_is_ended() {
    block_on(async {
        let door = Arc::new(Door::default());
        let endpoint = endpoint(&door).await;
        let at = endpoint.listeners()[1].address;
        let mut stream = TcpStream::connect(at).await.unwrap();
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        stream.write_all(&Hello::new(true, "nobody").bytes()).await.unwrap();
        let mut all = Vec::new();
        // It shows nothing to the gate, which is not asked.
        door.revoke("nobody");
        let began = std::time::Instant::now();
        stream.read_to_end(&mut all).await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(100), "it held twice");
        assert_eq!(all[0], 0x20);
        let rest = &all[2 + usize::from(all[1])..];
        assert_eq!((rest[0], rest[2]), (0xe0, 0x87));
        counted(&endpoint, |m| m.connections_now == 0).await;
    });
}

#[test]
fn a_session_that_goes_on_loses_what_its_client_may_not_have_any_more() {
    block_on(async {
        let door = Arc::new(Door::default());
        let endpoint = endpoint(&door).await;
        let hello = Hello::new(true, "dev").resuming();
        let mut client = Client::connect(&endpoint, &hello).await;
        for filter in ["out/x", "out/y", "$share/g/out/x"] {
            assert_eq!(client.subscribe(filter, 1).await, 1, "{filter}");
        }
        drop(client);
        counted(&endpoint, |m| m.connections_now == 0).await;
        send(&endpoint, "out/x").await;
        send(&endpoint, "out/y").await;
        door.revoke("out/x");
        let mut client = Client::connect(&endpoint, &hello).await;
        assert_eq!(client.connack[0], 1);
        assert_eq!(client.message().await.0, "out/y", "what waited is judged anew");
        send(&endpoint, "out/x").await;
        assert!(client.is_quiet().await);
        assert_eq!(endpoint.metrics().subscriptions_now, 1);
    });
}
