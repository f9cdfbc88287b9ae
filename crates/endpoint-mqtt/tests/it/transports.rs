//! Listeners of every kind, what is spoken where, and handshakes that go wrong.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use w3bstream_endpoint::{Endpoint as _, ErrorKind, async_trait};
use w3bstream_endpoint_mqtt::{BoxedStream, Listener, MqttConfig, MqttEndpoint, PeerInfo, Secure, Transport};
use w3bstream_types::{Algorithm, Did, SecretKey, SystemClock};

use crate::support::{Client, Hello, bind, block_on, config, counted, packet, via};

pub(crate) const KINDS: [Transport; 4] =
    [Transport::Tcp, Transport::Tls, Transport::WebSocket, Transport::WebSocketTls];

struct Fake(TlsAcceptor);

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fake")
    }
}

#[async_trait]
impl Secure for Fake {
    async fn accept(&self, stream: TcpStream) -> Result<(BoxedStream, PeerInfo), String> {
        let stream = self.0.accept(stream).await.map_err(|e| e.to_string())?;
        Ok((Box::pin(stream), PeerInfo { certificate_dids: vec![certificate_did()], shown: None }))
    }
}

/// What the fake finds in every certificate.
pub(crate) fn certificate_did() -> Did {
    Did::key(&SecretKey::from_bytes(Algorithm::EdDSA, &[9; 32]).unwrap().public())
}

/// Both sides of TLS with one certificate.
fn tls() -> &'static (TlsAcceptor, TlsConnector) {
    static TLS: OnceLock<(TlsAcceptor, TlsConnector)> = OnceLock::new();
    TLS.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let certificate = CertificateDer::from(made.cert.der().to_vec());
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let server = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key.into())
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (TlsAcceptor::from(Arc::new(server)), TlsConnector::from(Arc::new(client)))
    })
}

pub(crate) fn secure() -> Arc<dyn Secure> {
    Arc::new(Fake(tls().0.clone()))
}

/// Connects as a client of the listener's kind. What is refused on the way looks like a stream that has ended.
pub(crate) async fn dial(at: Listener, carrier: &mut JoinSet<()>) -> BoxedStream {
    let stream = TcpStream::connect(at.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut stream: BoxedStream = Box::pin(stream);
    if at.transport.is_tls() {
        let name = ServerName::try_from("localhost").unwrap();
        stream = match tls().1.connect(name, stream).await {
            Ok(stream) => Box::pin(stream),
            Err(_) => Box::pin(tokio::io::duplex(1 << 20).0),
        };
    }
    if !at.transport.is_web_socket() {
        return stream;
    }
    let (near, far) = tokio::io::duplex(64 << 10);
    let mut request = format!("ws://{}/mqtt", at.address).into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "mqtt".parse().unwrap());
    if let Ok((socket, _)) = tokio_tungstenite::client_async(request, stream).await {
        carrier.spawn(carry(socket, far));
        return Box::pin(near);
    }
    // Its other side is gone with this function: everything written is lost, and nothing comes.
    Box::pin(tokio::io::join(tokio::io::empty(), tokio::io::sink()))
}

async fn carry(socket: tokio_tungstenite::WebSocketStream<BoxedStream>, stream: tokio::io::DuplexStream) {
    let (mut sink, mut frames) = socket.split();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let up = async {
        let mut chunk = vec![0; 8 << 10];
        while let Ok(len @ 1..) = reader.read(&mut chunk).await {
            if sink.send(Message::binary(chunk[..len].to_vec())).await.is_err() {
                // What was sent to us is still to be read.
                std::future::pending::<()>().await;
            }
        }
    };
    let down = async {
        while let Some(Ok(message)) = frames.next().await {
            if let Message::Binary(bytes) = message
                && writer.write_all(&bytes).await.is_err()
            {
                break;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

fn everywhere() -> MqttConfig {
    let listen = config().listen;
    let more = KINDS.into_iter().skip(1).map(|transport| Listener { address: listen, transport });
    MqttConfig { more: more.collect(), ..config() }
}

#[test]
fn one_endpoint_listens_for_everything_and_says_where() {
    block_on(async {
        let endpoint = bind(everywhere()).await;
        let urls = endpoint.urls();
        let ports: Vec<u16> = endpoint.listeners().iter().map(|l| l.address.port()).collect();
        let expected: Vec<String> = [("mqtt", ""), ("mqtts", ""), ("ws", "/mqtt"), ("wss", "/mqtt")]
            .iter()
            .zip(&ports)
            .map(|((scheme, path), port)| format!("{scheme}://127.0.0.1:{port}{path}"))
            .collect();
        assert_eq!(urls, expected);
        assert!(!ports.contains(&0) && endpoint.local_addr().port() == ports[0]);
        // All see one broker.
        let mut clients = Vec::new();
        for (transport, id) in KINDS.into_iter().zip(["a", "b", "c", "d"]) {
            let mut client = dialled(&endpoint, transport, id).await;
            assert_eq!(client.subscribe("out/#", 0).await, 0);
            clients.push(client);
        }
        let publication = w3bstream_endpoint::Publication {
            topic: "out/x".into(),
            payload: vec![7; 100_000],
            idempotency_key: String::new(),
        };
        w3bstream_endpoint::Publisher::publish(&*endpoint, publication).await.unwrap();
        for client in &mut clients {
            assert_eq!(client.message().await.3, vec![7; 100_000]);
        }
        // Ended in good order, with the reason.
        endpoint.stop_intake().await;
        let closing = endpoint.close();
        let (closed, ()) = tokio::join!(closing, async {
            for client in &mut clients {
                assert_eq!(client.goodbye().await, Some(0x8b));
            }
        });
        closed.unwrap();
    });
}

async fn dialled(endpoint: &MqttEndpoint, transport: Transport, id: &'static str) -> Client {
    let hello = Hello::new(true, id);
    Client::connect(endpoint, &hello).await_via(transport).await
}

/// Says hello over a transport, whatever the answer.
pub(crate) async fn said(endpoint: &MqttEndpoint, transport: Transport, hello: &Hello) -> Client {
    Client::say(endpoint, hello).await_via(transport).await
}

/// Polls a future while its thread's clients connect over a transport.
trait AwaitVia: Future + Sized {
    async fn await_via(self, transport: Transport) -> Self::Output {
        let mut future = Box::pin(self);
        std::future::poll_fn(|cx| via(transport, || future.as_mut().poll(cx))).await
    }
}

impl<F: Future> AwaitVia for F {}

#[test]
fn tls_without_a_certificate_is_a_wrong_setting() {
    block_on(async {
        let error =
            MqttEndpoint::bind(everywhere(), Arc::new(SystemClock), Arc::new(w3bstream_endpoint::OpenGate))
                .await
                .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("mqtts://127.0.0.1:0 needs a certificate"), "{error}");
    });
}

/// What comes back for some bytes, until the endpoint closes.
pub(crate) async fn answer_to(endpoint: &MqttEndpoint, transport: Transport, bytes: &[u8]) -> Vec<u8> {
    let at = endpoint.listeners().iter().find(|l| l.transport == transport).unwrap();
    let mut stream = TcpStream::connect(at.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

#[test]
fn who_speaks_the_wrong_protocol_is_closed() {
    block_on(async {
        let endpoint = bind(everywhere()).await;
        let mqtt = Hello::new(true, "x").bytes();
        let http = b"GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n";
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        assert!(text(answer_to(&endpoint, Transport::WebSocket, &mqtt).await).starts_with("HTTP/1.1 400"));
        assert!(text(answer_to(&endpoint, Transport::WebSocket, http).await).starts_with("HTTP/1.1 426"));
        assert_eq!(answer_to(&endpoint, Transport::Tcp, http).await, b"");
        for bytes in [&mqtt[..], http] {
            for transport in [Transport::Tls, Transport::WebSocketTls] {
                let answer = answer_to(&endpoint, transport, bytes).await;
                assert!(answer.len() < 10, "an alert at most: {answer:?}");
            }
        }
        // A TLS hello where none is expected.
        let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
        assert_eq!(answer_to(&endpoint, Transport::Tcp, &hello).await, b"");
        assert!(text(answer_to(&endpoint, Transport::WebSocket, &hello).await).starts_with("HTTP/1.1 400"));
        counted(&endpoint, |m| m.handshakes_failed == 9).await;
        for transport in KINDS {
            dialled(&endpoint, transport, "good").await;
        }
    });
}

#[test]
fn handshakes_are_bounded_in_time_and_in_number() {
    block_on(async {
        let config =
            MqttConfig { connect_timeout: Duration::from_millis(400), max_handshakes: 2, ..everywhere() };
        let endpoint = bind(config).await;
        let at = |t| endpoint.listeners().iter().find(|l| l.transport == t).unwrap().address;
        let began = tokio::time::Instant::now();
        // Two that say nothing have the places; who comes next waits for one, not longer than it may.
        let mut silent = Vec::new();
        for transport in [Transport::Tls, Transport::WebSocket] {
            silent.push(TcpStream::connect(at(transport)).await.unwrap());
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        let mut client = dialled(&endpoint, Transport::WebSocketTls, "good").await;
        assert!(began.elapsed() >= Duration::from_millis(400), "it waited for its turn");
        client.write(&packet(0xc0, &[])).await;
        assert_eq!(client.read().await, Some((0xd0, vec![])));
        for stream in &mut silent {
            assert_eq!(stream.read(&mut [0; 8]).await.unwrap_or(0), 0);
        }
        assert!(began.elapsed() < Duration::from_secs(3));
        counted(&endpoint, |m| m.handshakes_failed == 2).await;
        // TCP alone needs no turn.
        let _silent = TcpStream::connect(at(Transport::Tls)).await.unwrap();
        dialled(&endpoint, Transport::Tcp, "plain").await;
    });
}

#[test]
fn closing_does_not_wait_for_those_who_have_not_connected() {
    block_on(async {
        let endpoint = bind(MqttConfig { connect_timeout: Duration::from_secs(60), ..everywhere() }).await;
        let mut silent = Vec::new();
        for listener in endpoint.listeners() {
            silent.push(TcpStream::connect(listener.address).await.unwrap());
        }
        while endpoint.metrics().connections_now < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let began = tokio::time::Instant::now();
        endpoint.close().await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(1));
    });
}
