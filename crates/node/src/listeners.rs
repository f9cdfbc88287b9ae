//! Everything that the node listens on, bound before anything runs.

use std::future::{Future, ready};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use serde_json::{Value, json};
use w3bstream_endpoint::{Endpoint, Feed, Publication, Publisher, SharedGate};
use w3bstream_endpoint_brokers::{
    BrokerConfig, BrokerStatus, BrokersConfig, BrokersEndpoint, Credentials, Delivery, MqttVersion, Tell,
};
use w3bstream_endpoint_coap::{CoapConfig, CoapEndpoint};
use w3bstream_endpoint_grpc::{Acceptor, GrpcConfig, GrpcEndpoint, GrpcLimits, Plain};
use w3bstream_endpoint_http::{Accept, HttpConfig, HttpEndpoint, HttpLimits, Origin, Readers, Reading};
use w3bstream_endpoint_mqtt::{Listener, MqttConfig, MqttEndpoint, Secure, Transport};
use w3bstream_tasks::Tasks;
use w3bstream_tls::{ClientSettings, Identity};
use w3bstream_types::Clock;
use w3bstream_wallet_file::FileWallet;

use crate::builder::LateQuery;
use crate::gate::NodeGate;
use crate::legacy::{self, Legacy};
use crate::secure::{NodeTls, Speaks};
use crate::{BrokerSettings, BrokerTells, Config, Paths, StatusPage, web};

/// What the listeners are made of.
pub(crate) struct Making<'a> {
    pub(crate) config: &'a Config,
    pub(crate) paths: &'a Paths,
    pub(crate) wallet: &'a Arc<FileWallet>,
    pub(crate) clock: &'a Arc<dyn Clock>,
    pub(crate) query: &'a Arc<LateQuery>,
    /// The same for those who reach the node from anywhere: brief.
    pub(crate) public: &'a Arc<LateQuery>,
    pub(crate) feed: &'a Feed,
    /// Takes a free port wherever the configured one is taken.
    pub(crate) free_ports: bool,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) http: Arc<HttpEndpoint>,
    pub(crate) https: Option<Arc<HttpEndpoint>>,
    pub(crate) mqtt: Option<Arc<MqttEndpoint>>,
    pub(crate) grpc: Option<Arc<GrpcEndpoint>>,
    pub(crate) coap: Option<Arc<CoapEndpoint>>,
    pub(crate) brokers: Option<Arc<BrokersEndpoint>>,
    pub(crate) legacy: Option<Legacy>,
    pub(crate) admin: Arc<tokio::net::TcpListener>,
}

/// What is listened on in an address's place.
type At = fn(SocketAddr) -> SocketAddr;

const fn as_set(listen: SocketAddr) -> SocketAddr {
    listen
}

const fn any_port(listen: SocketAddr) -> SocketAddr {
    SocketAddr::new(listen.ip(), 0)
}

fn taken(name: &str, listen: SocketAddr) -> String {
    format!(
        "cannot listen on {listen}; choose another address with {name}.listen in node.toml, or --{name} ADDRESS"
    )
}

impl Making<'_> {
    /// Binds as it is set. If that fails, and any port will do: at free ports. `why` is said of the failure.
    async fn listen<T, E: Into<anyhow::Error>, F: Future<Output = Result<T, E>>>(
        &self,
        why: String,
        bind: impl Fn(At) -> F,
    ) -> anyhow::Result<T> {
        match bind(as_set).await {
            Err(_) if self.free_ports => bind(any_port).await.map_err(Into::into),
            result => result.map_err(Into::into).context(why),
        }
    }

    pub(crate) async fn bind(&self) -> anyhow::Result<Listeners> {
        let config = self.config;
        let listeners = Listeners {
            http: self.http().await?,
            https: self.https().await?,
            mqtt: if config.mqtt.enabled { Some(self.mqtt().await?) } else { None },
            grpc: if config.grpc.enabled { Some(self.grpc().await?) } else { None },
            coap: if config.coap.enabled { Some(self.coap().await?) } else { None },
            brokers: if config.brokers.is_empty() { None } else { Some(self.brokers()?) },
            legacy: if config.legacy.enabled { Some(self.legacy().await?) } else { None },
            admin: Arc::new(self.admin().await?),
        };
        if let (Some(mqtt), Some(legacy)) = (&listeners.mqtt, &listeners.legacy) {
            mqtt.serve_originals(Arc::new(legacy::Words(legacy.endpoint.clone())));
        }
        Ok(listeners)
    }

    async fn http(&self) -> anyhow::Result<Arc<HttpEndpoint>> {
        let settings = &self.config.http;
        self.http_at("http", settings.listen, (self.query, settings.status, None)).await
    }

    async fn https(&self) -> anyhow::Result<Option<Arc<HttpEndpoint>>> {
        let Some(listen) = self.config.http.tls_listen else { return Ok(None) };
        let tls: Arc<dyn Accept> = Arc::new(self.tls(Speaks::Http).await?);
        self.http_at("http.tls", listen, (self.public, StatusPage::Brief, Some(tls))).await.map(Some)
    }

    async fn tls(&self, speaks: Speaks) -> anyhow::Result<NodeTls> {
        NodeTls::open(&self.config.tls, self.paths, speaks, self.clock).await
    }

    async fn http_at(
        &self,
        name: &str,
        listen: SocketAddr,
        (query, status, accept): (&Arc<LateQuery>, StatusPage, Option<Arc<dyn Accept>>),
    ) -> anyhow::Result<Arc<HttpEndpoint>> {
        let settings = &self.config.http;
        let parse = |text: &String| text.parse::<Origin>().map_err(|e| anyhow::anyhow!("http.cors: {e}"));
        let cors = settings.cors.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let bind = |at: At| {
            let limits = HttpLimits {
                max_connections: settings.max_connections,
                max_wait: Duration::from_millis(settings.max_wait_ms),
                ..HttpLimits::default()
            };
            let config = HttpConfig {
                limits,
                extra: Some(web::router(query.clone(), self.clock.clone(), status)),
                sessions: query.clone(),
                feed: self.feed.clone(),
                readers: if query.is_brief() {
                    Readers::new(|_, _| Reading::Denied)
                } else {
                    Readers::default()
                },
                cors: cors.clone(),
                accept: accept.clone(),
                ..HttpConfig::new(at(listen))
            };
            ready(HttpEndpoint::bind(config, query.clone(), self.clock.clone()))
        };
        self.listen(taken(name, listen), bind).await
    }

    /// Who may connect over MQTT.
    fn gate(&self) -> anyhow::Result<SharedGate> {
        let users = self.paths.dir().join(&self.config.mqtt.users);
        Ok(Arc::new(NodeGate::open(&self.config.mqtt, users, self.query.clone(), self.clock.clone())?))
    }

    async fn mqtt(&self) -> anyhow::Result<Arc<MqttEndpoint>> {
        let settings = &self.config.mqtt;
        let more = [
            (settings.tls_listen, Transport::Tls),
            (settings.ws_listen, Transport::WebSocket),
            (settings.wss_listen, Transport::WebSocketTls),
        ];
        let more = more.into_iter().filter_map(|(at, transport)| Some(Listener { address: at?, transport }));
        let config = MqttConfig {
            listen: settings.listen,
            more: more.collect(),
            max_connections: settings.max_connections,
            max_connection_rate: settings.max_connection_rate,
            max_packet_bytes: settings.max_packet_bytes,
            max_in_flight_total: settings.max_in_flight,
            max_web_socket_message_bytes: settings.max_packet_bytes.max(512 << 10),
            web_socket_origins: settings.web_socket_origins.clone(),
            open_topics: settings.open_topics.clone(),
            max_session_expiry: Duration::from_secs(settings.max_session_seconds),
            max_publish_rate: settings.max_publish_rate,
            recheck_every: Duration::from_secs(settings.recheck_seconds),
            sessions_file: Some(self.paths.mqtt_sessions()),
            ..MqttConfig::default()
        };
        let secure: Option<Arc<dyn Secure>> = match config.more.iter().any(|l| l.transport.is_tls()) {
            true => Some(Arc::new(self.tls(Speaks::Mqtt).await?)),
            false => None,
        };
        let bind = |at: At| {
            let moved = |l: &Listener| Listener { address: at(l.address), ..*l };
            let more = config.more.iter().map(moved).collect();
            let config = MqttConfig { listen: at(config.listen), more, ..config.clone() };
            let (clock, secure) = (self.clock.clone(), secure.clone());
            async move {
                Ok::<_, anyhow::Error>(MqttEndpoint::bind_with(config, clock, self.gate()?, secure).await?)
            }
        };
        self.listen(taken("mqtt", settings.listen), bind).await
    }

    async fn grpc(&self) -> anyhow::Result<Arc<GrpcEndpoint>> {
        let settings = &self.config.grpc;
        let acceptor: Arc<dyn Acceptor> = match settings.tls {
            true => Arc::new(self.tls(Speaks::Grpc).await?),
            false => Arc::new(Plain),
        };
        let bind = |at: At| {
            let limits = GrpcLimits {
                max_connections: settings.max_connections,
                // Strangers may ask for what they know of, as on a brief status page.
                watch_all: settings.listen.ip().is_loopback(),
                ..GrpcLimits::default()
            };
            let config = GrpcConfig { listen: at(settings.listen), limits, acceptor: acceptor.clone() };
            let (query, feed, clock) = (self.query.clone(), self.feed.clone(), self.clock.clone());
            ready(GrpcEndpoint::bind(config, query, feed, clock))
        };
        self.listen(taken("grpc", settings.listen), bind).await
    }

    async fn coap(&self) -> anyhow::Result<Arc<CoapEndpoint>> {
        let settings = &self.config.coap;
        let bind = |at: At| {
            let config = CoapConfig {
                listen: at(settings.listen),
                max_message_bytes: settings.max_message_bytes,
                max_in_flight: settings.max_in_flight,
                ..CoapConfig::default()
            };
            CoapEndpoint::bind(config, self.query.clone(), self.clock.clone())
        };
        self.listen(taken("coap", settings.listen), bind).await
    }

    fn brokers(&self) -> anyhow::Result<Arc<BrokersEndpoint>> {
        let brokers = self.config.brokers.iter().map(|b| broker(b, self.paths)).collect::<Result<_, _>>()?;
        let config = BrokersConfig { brokers, ..BrokersConfig::default() };
        BrokersEndpoint::open(config, self.clock.clone()).context("[[brokers]]")
    }

    async fn legacy(&self) -> anyhow::Result<Legacy> {
        let settings = &self.config.legacy;
        let parts = (self.query, self.wallet, self.clock);
        let why = format!("the original's routes on {}: legacy.listen in node.toml", settings.listen);
        self.listen(why, |at| legacy::open((settings, at(settings.listen)), self.paths, parts)).await
    }

    async fn admin(&self) -> anyhow::Result<tokio::net::TcpListener> {
        let listen = self.config.admin.listen;
        self.listen(taken("admin", listen), |at| tokio::net::TcpListener::bind(at(listen))).await
    }
}

fn broker(settings: &BrokerSettings, paths: &Paths) -> anyhow::Result<BrokerConfig> {
    let file = |name: &PathBuf| paths.dir().join(name);
    let name = &settings.name;
    let credentials = match (&settings.user, &settings.password_file) {
        (None, None) => None,
        (Some(user), Some(password)) => {
            let path = file(password);
            let read = std::fs::read_to_string(&path);
            let password = read.with_context(|| format!("broker {name}: {}", path.display()))?;
            Some(Credentials { user: user.clone(), password: password.trim_end().to_owned() })
        }
        _ => anyhow::bail!("broker {name}: user and password-file go together"),
    };
    let identity = match (&settings.certificate, &settings.key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some(Identity { certificate: file(certificate), key: file(key) }),
        _ => anyhow::bail!("broker {name}: certificate and key go together"),
    };
    let authorities = settings.authorities.as_ref().map(file);
    Ok(BrokerConfig {
        version: if settings.mqtt_3 { MqttVersion::V4 } else { MqttVersion::V5 },
        credentials,
        tls: ClientSettings { authorities, identity, ..ClientSettings::default() },
        topics: settings.topics.clone(),
        share: settings.share.clone(),
        qos: if settings.qos_2 { Delivery::ExactlyOnce } else { Delivery::AtLeastOnce },
        max_in_flight: settings.max_in_flight,
        tell: match settings.tell {
            BrokerTells::Nothing => Tell::Nothing,
            BrokerTells::Refusals => Tell::Refusals,
            BrokerTells::All => Tell::All,
        },
        publish: settings.publish,
        ..BrokerConfig::new(name, &settings.url, &settings.client_id)
    })
}

impl Listeners {
    /// What takes in messages.
    pub(crate) fn endpoints(&self) -> Vec<Arc<dyn Endpoint>> {
        let mut all: Vec<Arc<dyn Endpoint>> = vec![self.http.clone()];
        all.extend(self.https.clone().map(|e| -> Arc<dyn Endpoint> { e }));
        all.extend(self.mqtt.clone().map(|e| -> Arc<dyn Endpoint> { e }));
        all.extend(self.grpc.clone().map(|e| -> Arc<dyn Endpoint> { e }));
        all.extend(self.coap.clone().map(|e| -> Arc<dyn Endpoint> { e }));
        all.extend(self.brokers.clone().map(|e| -> Arc<dyn Endpoint> { e }));
        if let Some(legacy) = &self.legacy {
            all.push(legacy.endpoint.clone());
            all.push(legacy.listener.clone());
        }
        all
    }

    /// Where commands and outputs go.
    pub(crate) fn publisher(&self) -> Option<Arc<dyn Publisher>> {
        let own = self.mqtt.clone().map(|e| -> Arc<dyn Publisher> { e });
        let others = self.brokers.clone().map(|e| -> Arc<dyn Publisher> { e });
        match (own, others) {
            (Some(own), Some(others)) => Some(Arc::new(Both(own, others))),
            (own, others) => own.or(others),
        }
    }

    /// Lets those serve that do not yet.
    pub(crate) fn start(&self, servers: &Tasks) {
        self.http.start(servers);
        if let Some(https) = &self.https {
            https.start(servers);
        }
        if let Some(grpc) = &self.grpc {
            grpc.start(servers);
        }
        if let Some(legacy) = &self.legacy {
            legacy.listener.start(servers);
        }
    }

    /// How this node stands with each broker of others.
    pub(crate) fn brokers(&self) -> Value {
        let all = self.brokers.as_ref().map(|b| b.status()).unwrap_or_default();
        let one = |b: &BrokerStatus| {
            json!({
                "name": b.name, "url": b.url, "connected": b.connected, "since": b.since,
                "last_error": b.last_error, "in_flight": b.in_flight,
            })
        };
        all.iter().map(one).collect()
    }

    /// Metrics of the endpoints that have text of their own.
    pub(crate) fn metrics(&self) -> String {
        self.grpc.as_ref().map(|g| g.metrics()).unwrap_or_default()
    }
}

/// To two places. What the second does not take is sent to both again: receivers know it by its key.
#[derive(Debug)]
struct Both(Arc<dyn Publisher>, Arc<dyn Publisher>);

#[async_trait]
impl Publisher for Both {
    async fn publish(&self, publication: Publication) -> Result<(), w3bstream_endpoint::Error> {
        self.0.publish(publication.clone()).await?;
        self.1.publish(publication).await
    }
}
