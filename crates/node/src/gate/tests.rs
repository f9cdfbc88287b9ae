//! Each way in, and each refusal.

use w3bstream_types::{
    AckMode, Algorithm, BlockRules, DeviceRegistration, Introduction, IntroductionClaims, Manifest,
    ManualClock, ProjectId, SecretKey, SessionClaims, Timestamp, TokenRegistration,
};
use w3bstream_wallet::{MemoryRegistry, check_introduction, check_session};

use super::*;

const NOW: u64 = 1_700_000_000_000;

fn key(n: u8) -> SecretKey {
    SecretKey::from_bytes(Algorithm::EdDSA, &[n; 32]).unwrap()
}

fn did(n: u8) -> Did {
    Did::key(&key(n).public())
}

/// The node's DID is that of key 100, the devices' of 1 and 2.
#[derive(Debug)]
struct Bench {
    registry: MemoryRegistry,
    clock: Arc<ManualClock>,
}

impl Judges for Bench {
    fn registry(&self) -> Option<&dyn Registry> {
        Some(&self.registry)
    }

    fn connect(&self, text: &str, device: &Did, client: &str) -> Result<ProjectView, Refusal> {
        let bad = |why: &str| Refusal::new(RefusalKind::Malformed, why);
        let read = Introduction::connect(text).map_err(|e| bad(&e.to_string()))?;
        if read.claims().device != *device || read.claims().client.as_deref() != Some(client) {
            return Err(bad("another device or client"));
        }
        let view = self.registry.projects().into_iter().find(|v| v.id == read.claims().audience);
        let view = view.ok_or_else(|| bad("no project"))?;
        check_introduction(&read, &view, &did(100), &self.registry)?;
        Ok(view)
    }

    fn session(
        &self,
        token: &str,
        project: Option<&ProjectName>,
    ) -> Result<(ProjectView, SessionToken), Refusal> {
        let none = || Refusal::new(RefusalKind::UnknownProject, "none");
        let cold = "cold".parse().unwrap();
        let view = self.registry.project(project.unwrap_or(&cold)).ok_or_else(none)?;
        let session = check_session(token, &view, &self.registry, self.clock.now())?;
        Ok((view, session))
    }
}

fn manifest(name: &str) -> Manifest {
    Manifest {
        name: name.parse().unwrap(),
        owner: did(99),
        version: 1,
        ack: AckMode::Durable,
        max_payload_bytes: 64,
        allow_tokens: true,
        allow_sessions: true,
        blocks: BlockRules::default(),
        env: vec![],
        applets: vec![],
        settlements: vec![],
        chains: vec![],
        triggers: vec![],
        database: None,
    }
}

struct World {
    bench: Arc<Bench>,
    gate: NodeGate,
    project: ProjectId,
    _dir: tempfile::TempDir,
}

/// The projects `cold` and `warm`; in the first the devices 1 and 2 and a publisher with the token `w3b_secret`.
fn world(settings: MqttSettings) -> World {
    let registry = MemoryRegistry::new();
    let project = registry.set_project(manifest("cold"));
    registry.set_project(manifest("warm"));
    registry.set_members(project, &[did(100)]);
    for n in [1, 2] {
        let registration = DeviceRegistration { device: did(n), key: key(n).public(), event_types: vec![] };
        registry.register_device(project, registration);
    }
    let publisher = "gateway".parse().unwrap();
    let token_hash = token_hash("w3b_secret");
    registry.register_token(project, TokenRegistration { publisher, token_hash, event_types: vec![] });
    let dir = tempfile::tempdir().unwrap();
    let users = dir.path().join("users.toml");
    let filters =
        (vec!["w3b/+/+".to_owned()], vec!["w3b/cold/#".to_owned(), "to/{user}/{client}".to_owned()]);
    let user = MqttUser::new("ops".into(), "correct horse", filters).unwrap();
    MqttUsers { users: vec![user] }.write(&users).unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp(NOW)));
    let bench = Arc::new(Bench { registry, clock: clock.clone() });
    let gate = NodeGate::open(&settings, users, bench.clone(), clock).unwrap();
    World { bench, gate, project, _dir: dir }
}

fn plain() -> World {
    world(MqttSettings::default())
}

fn shown(username: &str, password: &str) -> Credentials {
    Credentials {
        client_id: "c1".into(),
        username: Some(username.into()),
        password: Some(password.into()),
        certificate_dids: vec![],
        from_loopback: true,
        address: Some("127.0.0.1".parse().unwrap()),
    }
}

fn with_certificate(dids: &[Did]) -> Credentials {
    let certificate_dids = dids.to_vec();
    Credentials { username: None, password: None, certificate_dids, ..shown("", "") }
}

impl World {
    fn statement(&self, n: u8, client: &str) -> String {
        let claims = IntroductionClaims {
            audience: self.project,
            device: did(n),
            node: did(100),
            issued: NOW / 1000,
            nonce: "n".into(),
            client: Some(client.into()),
        };
        claims.sign(&key(n))
    }

    fn jwt(&self, n: u8) -> String {
        let claims = SessionClaims {
            audience: self.project,
            device: did(n),
            node: did(100),
            issued: NOW / 1000,
            expires: NOW / 1000 + 60,
            id: "s".into(),
        };
        let input = claims.signing_input().unwrap();
        SessionToken::assemble(&input, &key(100).sign(input.as_bytes())).unwrap().compact().to_owned()
    }

    /// Every refusal of what is wrong reads the same.
    async fn refused(&self, credentials: Credentials) {
        let what = format!("{credentials:?}");
        // Attempts are counted by address: each of these comes from its own.
        let n = u16::try_from(what.len()).unwrap();
        let address = Some(std::net::IpAddr::from([10, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]]));
        let refusal = self.gate.admit(Credentials { address, ..credentials }).await.expect_err(&what);
        assert_eq!(refusal.kind, RefusalKind::BadToken, "{what}: {refusal}");
        assert!(
            refusal.detail.starts_with("you may not connect with these credentials"),
            "{what}: {refusal}"
        );
    }

    async fn admitted(&self, credentials: Credentials) -> Access {
        self.gate.admit(credentials).await.unwrap()
    }
}

#[tokio::test]
async fn without_credentials_by_the_setting_and_the_address() {
    let anywhere = "0.0.0.0:1883".parse().unwrap();
    let here = MqttSettings::default().listen;
    let cases = [
        (Anonymous::Auto, here, true, Some(true)),
        (Anonymous::Auto, here, false, Some(false)),
        (Anonymous::Auto, anywhere, true, Some(false)),
        (Anonymous::Full, anywhere, false, Some(true)),
        (Anonymous::Publish, here, true, Some(false)),
        (Anonymous::None, here, true, None),
    ];
    for (anonymous, listen, from_loopback, full) in cases {
        let world = world(MqttSettings { anonymous, listen, ..MqttSettings::default() });
        let nobody = Credentials { from_loopback, ..with_certificate(&[]) };
        let Some(full) = full else {
            world.refused(nobody).await;
            continue;
        };
        let access = world.admitted(nobody).await;
        assert_eq!((access.principal.clone(), access.vouched.clone()), (Principal::Anyone, None));
        assert_eq!(access.may_subscribe("w3b/cold/#"), full, "{anonymous:?}");
        assert_eq!(access.may_subscribe("$SYS/#"), full);
        assert_eq!(access.may_publish("other/topic"), full);
        assert!(access.may_publish("w3b/cold/reading") && (full || !access.may_publish("w3b/cold/cmd/x")));
    }
}

#[tokio::test]
async fn a_user_has_the_rights_of_the_file() {
    let world = plain();
    let access = world.admitted(shown("ops", "correct horse")).await;
    assert_eq!(access.principal, Principal::User("ops".into()));
    assert_eq!((access.vouched.clone(), access.until), (None, None));
    assert!(access.may_publish("w3b/cold/reading") && access.may_subscribe("w3b/cold/#"));
    assert!(access.may_subscribe("to/ops/c1") && !access.may_subscribe("to/ops/c2"));
    for (name, password) in
        [("ops", "Correct horse"), ("nobody", "correct horse"), ("ops", ""), ("", "correct horse")]
    {
        world.refused(shown(name, password)).await;
    }
    world.refused(Credentials { password: None, ..shown("ops", "") }).await;
    world.refused(Credentials { password: Some(vec![0xff, 0xfe]), ..shown("ops", "") }).await;
    world.refused(Credentials { password: Some(vec![0xff, 0xfe]), username: None, ..shown("", "") }).await;
}

#[tokio::test]
async fn a_publisher_has_its_project_alone() {
    let world = plain();
    let access = world.admitted(shown("cold", "w3b_secret")).await;
    assert_eq!(access.principal, Principal::Publisher("cold".parse().unwrap(), "gateway".parse().unwrap()));
    assert_eq!(access.vouched, Some(Vouched::Token("w3b_secret".into())));
    assert!(access.may_publish("w3b/cold/reading") && !access.may_publish("w3b/warm/reading"));
    assert!(!access.may_publish("w3b/cold/cmd/x"));
    for own in ["w3b/cold/ack/gateway", "w3b/cold/refused/gateway", "w3b/cold/ack/c1"] {
        assert!(access.may_subscribe(own), "{own}");
    }
    for other in ["w3b/cold/ack/+", "w3b/cold/#", "w3b/cold/cmd/gateway", "w3b/warm/ack/gateway"] {
        assert!(!access.may_subscribe(other), "{other}");
    }
    // A client id that is a device's name, or several levels, gives nothing.
    for client in [did(1).to_string(), "+".into(), "#".into(), "a/b".into(), String::new()] {
        let topic = format!("w3b/cold/ack/{client}");
        let access = world.admitted(Credentials { client_id: client, ..shown("cold", "w3b_secret") }).await;
        assert!(!access.may_subscribe(&topic), "{topic}");
        assert_eq!(access.subscribe.len(), 2);
    }
    for (name, token) in
        [("cold", "w3b_Secret"), ("warm", "w3b_secret"), ("No", "w3b_secret"), ("none", "w3b_secret")]
    {
        world.refused(shown(name, token)).await;
    }
    world.bench.registry.set_project(Manifest { allow_tokens: false, ..manifest("cold") });
    world.refused(shown("cold", "w3b_secret")).await;
}

#[tokio::test]
async fn a_sessions_jwt_is_the_device_until_it_ends() {
    let world = plain();
    let jwt = world.jwt(1);
    for username in [Some("cold"), Some(""), None] {
        let username = username.map(str::to_owned);
        let access = world.admitted(Credentials { username, ..shown("", &jwt) }).await;
        assert_eq!(access.principal, Principal::Device(did(1)));
        assert_eq!(access.vouched, Some(Vouched::Session(jwt.clone())));
        assert_eq!(access.until, Some(NOW + 60_000));
        assert!(access.may_publish("w3b/cold/reading") && !access.may_publish("w3b/warm/reading"));
        assert!(access.may_subscribe(&format!("w3b/cold/cmd/{}", did(1))));
        assert!(!access.may_subscribe(&format!("w3b/cold/cmd/{}", did(2))));
        assert!(!access.may_subscribe("w3b/cold/cmd/+"));
    }
    for name in ["warm", "No", "ops", "none"] {
        world.refused(shown(name, &jwt)).await;
    }
    world.refused(shown("cold", &world.jwt(3))).await;
    let parts: Vec<&str> = jwt.split('.').collect();
    world.refused(shown("cold", &format!("{}.{}.", parts[0], parts[1]))).await;
    world.refused(shown("", "no jwt at all")).await;
    world.bench.registry.revoke_device(world.project, &did(1));
    world.refused(shown("cold", &jwt)).await;
    let other = world.jwt(2);
    world.admitted(shown("cold", &other)).await;
    world.bench.clock.set(Timestamp(NOW + 60_000));
    world.refused(shown("cold", &other)).await;
}

#[tokio::test]
async fn a_signed_statement_is_the_devices_of_this_connection() {
    let world = plain();
    let name = did(1).to_string();
    let access = world.admitted(shown(&name, &world.statement(1, "c1"))).await;
    assert_eq!(access.principal, Principal::Device(did(1)));
    assert_eq!((access.vouched.clone(), access.until), (None, None));
    for what in ["ack", "refused", "cmd"] {
        assert!(access.may_subscribe(&format!("w3b/cold/{what}/{name}")));
        assert!(!access.may_subscribe(&format!("w3b/cold/{what}/{}", did(2))));
    }
    assert!(access.may_publish("w3b/cold/reading") && !access.may_publish("w3b/warm/reading"));
    world.refused(shown(&name, &world.statement(1, "c2"))).await;
    world.refused(shown(&name, &world.statement(2, "c1"))).await;
    world.refused(shown(&did(3).to_string(), &world.statement(3, "c1"))).await;
    world.refused(shown("did:", &world.statement(1, "c1"))).await;
    world.refused(shown(&name, "correct horse")).await;
    world.refused(shown(&name, &world.jwt(1))).await;
    world.bench.registry.revoke_device(world.project, &did(1));
    world.refused(shown(&name, &world.statement(1, "c1"))).await;
}

#[tokio::test]
async fn a_certificate_is_its_registered_devices() {
    let world =
        world(MqttSettings { unknown_certificates: UnknownCertificates::Refuse, ..MqttSettings::default() });
    let access = world.admitted(with_certificate(&[did(3), did(1)])).await;
    assert_eq!((access.principal.clone(), access.vouched.clone()), (Principal::Device(did(1)), None));
    assert!(access.may_publish("w3b/cold/reading") && !access.may_publish("w3b/warm/reading"));
    assert!(!access.may_subscribe(&format!("w3b/cold/cmd/{}", did(3))));
    let both = world.admitted(with_certificate(&[did(1), did(2)])).await;
    for n in [1, 2] {
        assert!(both.may_subscribe(&format!("w3b/cold/cmd/{}", did(n))));
    }
    world.refused(with_certificate(&[did(3)])).await;
    // Only so many are looked at.
    let mut many: Vec<Did> = (10..10 + MAX_CERTIFICATE_DIDS as u8).map(did).collect();
    many.push(did(1));
    world.refused(with_certificate(&many)).await;
    world.bench.registry.revoke_device(world.project, &did(1));
    world.refused(with_certificate(&[did(1)])).await;
    // What else is shown counts, and is not passed over for the certificate.
    world.refused(Credentials { certificate_dids: vec![did(2)], ..shown("ops", "guess") }).await;
}

#[tokio::test]
async fn an_unknown_certificate_is_anybodys_if_the_setting_says_so() {
    let settings = MqttSettings { anonymous: Anonymous::Publish, ..MqttSettings::default() };
    let access = world(settings).admitted(with_certificate(&[did(3)])).await;
    assert_eq!(access.principal, Principal::Anyone);
    assert!(!access.may_subscribe("w3b/cold/ack/x"));
}

#[tokio::test]
async fn who_fails_too_often_waits_whatever_it_shows_then() {
    let world = world(MqttSettings { max_failures_per_minute: 3, ..MqttSettings::default() });
    for _ in 0..3 {
        let refusal = world.gate.admit(shown("cold", "guess")).await.unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::BadToken);
    }
    let refusal = world.gate.admit(shown("cold", "w3b_secret")).await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Overloaded);
    assert!(refusal.detail.contains("60 s"), "{refusal}");
    // Another address does not, nor who shows nothing, nor the same one later.
    let elsewhere = Some("192.0.2.1".parse().unwrap());
    world.admitted(Credentials { address: elsewhere, ..shown("cold", "w3b_secret") }).await;
    world.admitted(with_certificate(&[])).await;
    world.bench.clock.set(Timestamp(NOW + 60_000));
    world.admitted(shown("cold", "w3b_secret")).await;
}

#[tokio::test]
async fn passwords_are_verified_a_few_at_a_time() {
    let mut world = plain();
    world.gate.turn = Duration::from_millis(20);
    let turns = world.gate.verifying.clone().acquire_many_owned(VERIFYING as u32).await.unwrap();
    let refusal = world.gate.admit(shown("ops", "correct horse")).await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Overloaded);
    drop(turns);
    world.admitted(shown("ops", "correct horse")).await;
}

#[tokio::test]
async fn a_node_that_starts_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp(NOW)));
    let judges = Arc::new(LateQuery::default());
    let gate = NodeGate::open(&MqttSettings::default(), dir.path().join("none"), judges, clock).unwrap();
    for credentials in [shown("cold", "w3b_secret"), shown("", "eyJ.a.b"), with_certificate(&[did(1)])] {
        assert_eq!(gate.admit(credentials).await.unwrap_err().kind, RefusalKind::NotReady);
    }
}

#[tokio::test]
async fn what_was_admitted_holds_as_long_as_it_would_be_admitted() {
    let world = plain();
    let (statement, jwt) = (world.statement(1, "c1"), world.jwt(2));
    let device = world.admitted(shown(&did(1).to_string(), &statement)).await;
    let session = world.admitted(shown("cold", &jwt)).await;
    let both = world.admitted(with_certificate(&[did(1), did(2)])).await;
    let publisher = world.admitted(shown("cold", "w3b_secret")).await;
    let user = world.admitted(shown("ops", "correct horse")).await;
    let nobody = world.admitted(with_certificate(&[])).await;
    let all = [&device, &session, &both, &publisher, &user, &nobody];
    assert!(all.iter().all(|access| world.gate.holds(access)));

    world.bench.registry.revoke_device(world.project, &did(1));
    assert!(!world.gate.holds(&device) && !world.gate.holds(&both) && world.gate.holds(&session));
    let manifest = || manifest("cold");
    world.bench.registry.set_project(Manifest { allow_sessions: false, ..manifest() });
    assert!(!world.gate.holds(&session) && world.gate.holds(&publisher));
    world.bench.registry.set_project(Manifest { allow_tokens: false, ..manifest() });
    assert!(world.gate.holds(&session) && !world.gate.holds(&publisher));
    world.bench.registry.set_project(manifest());
    assert!(world.gate.holds(&publisher));
    world.bench.registry.revoke_token(world.project, &"gateway".parse().unwrap());
    assert!(!world.gate.holds(&publisher) && world.gate.holds(&user) && world.gate.holds(&nobody));
    MqttUsers::default().write(&world._dir.path().join("users.toml")).unwrap();
    // The file is looked at once in a second.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(!world.gate.holds(&user) && world.gate.holds(&nobody));
}
