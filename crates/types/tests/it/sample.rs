//! Fixed values that tests and fixtures share. Everything is deterministic.

use w3bstream_types::receipt::{ProofLink, Receipt, ReceiptParts, SettlementLink, TrieNode};
use w3bstream_types::{
    Address, Algorithm, Applet, Attestation, BatchRule, Block, BlockRules, Canonical, Certificate,
    CertifiedBlock, ChainRule, ContractAnswer, ContractCall, ContractRead, CronTrigger, Database, Did,
    Digest, Draft, Entry, EventRecord, Executed, Form, Genesis, GuestLimits, HeightTrigger, Invalid, Jws,
    LogTrigger, Manifest, Member, Missed, Ordered, Output, OutputKind, Place, Position, ProjectId, ProofRule,
    PublicKey, Record, ResultRecord, Route, SecretKey, SentTrigger, Sequence, SessionClaims, SessionToken,
    Settlement, SqlColumn, SqlKey, SqlName, SqlTable, SqlType, Statement, Stored, Submission, Timestamp,
    Topic, TransactionRequest, TransactionTrigger, Transcript, Trigger, TriggerMessage, TriggerOn, Verified,
    Word, payload_digest,
};

/// A key made of one repeated byte.
pub(crate) fn key(algorithm: Algorithm, n: u8) -> SecretKey {
    SecretKey::from_bytes(algorithm, &[n; 32]).unwrap()
}

pub(crate) fn owner() -> Did {
    Did::key(&key(Algorithm::EdDSA, 1).public())
}

pub(crate) fn project() -> ProjectId {
    ProjectId::new(&owner(), &"cold-chain".parse().unwrap())
}

/// A device's message that is not signed yet.
pub(crate) fn draft(device: &Did, counter: u32) -> Draft {
    Draft {
        audience: project(),
        key: device.default_key_id(),
        event_type: "temperature".parse().unwrap(),
        sequence: Sequence::new(1, counter),
        time: Timestamp(1_700_000_000_000),
        payload: format!(r#"{{"celsius":{}}}"#, counter + 3).into_bytes(),
    }
}

pub(crate) fn envelope(algorithm: Algorithm, n: u8) -> (Record, PublicKey) {
    let key = key(algorithm, n);
    let device = if n.is_multiple_of(2) { Did::key(&key.public()) } else { Did::jwk(&key.public()) };
    let envelope = draft(&device, u32::from(n)).sign_envelope([n; 16], &key);
    (Record::new(Form::Envelope(envelope)), key.public())
}

pub(crate) fn jws(algorithm: Algorithm, n: u8) -> (Record, PublicKey) {
    let key = key(algorithm, n);
    let text = draft(&Did::key(&key.public()), u32::from(n)).sign_jws(&key);
    (Record::new(Form::Jws(Jws::parse(&text).unwrap())), key.public())
}

pub(crate) fn token() -> Record {
    let submission = Submission::Token {
        token: "secret".into(),
        event_id: "event-7".into(),
        event_type: "temperature".parse().unwrap(),
        time: Timestamp::NONE,
        payload: b"22.5".to_vec(),
    };
    let hash = w3bstream_types::token_hash("secret");
    let rule = (project(), "gateway-1".parse().unwrap(), hash);
    Verified::by_token(submission, rule, Timestamp(5)).unwrap().record().clone()
}

/// The JWT that the subnet's first node has given to the device of key 2.
pub(crate) fn session_token() -> SessionToken {
    let node = key(Algorithm::EdDSA, 100);
    let claims = SessionClaims {
        audience: project(),
        device: Did::key(&key(Algorithm::EdDSA, 2).public()),
        node: Did::key(&node.public()),
        issued: 1_700_000_000,
        expires: 1_700_003_600,
        id: "session-1".into(),
    };
    let input = claims.signing_input().unwrap();
    SessionToken::assemble(&input, &node.sign(input.as_bytes())).unwrap()
}

pub(crate) fn session() -> Record {
    let token = session_token();
    let submission = Submission::Session {
        token: token.compact().into(),
        event_id: "event-7".into(),
        event_type: "temperature".parse().unwrap(),
        time: Timestamp::NONE,
        payload: b"22.5".to_vec(),
    };
    let members = [token.claims().node.clone()];
    let evidence = (project(), &members[..], &token.claims().device);
    Verified::by_session(submission, evidence, Timestamp(1_700_000_001_000)).unwrap().record().clone()
}

pub(crate) fn trigger() -> Record {
    let message = TriggerMessage {
        project: project(),
        trigger: "transfers".parse().unwrap(),
        event_id: "4690:7:0".into(),
        event_type: "transfer".parse().unwrap(),
        time: Timestamp(1_700_000_000_000),
        payload: br#"{"data":"0x"}"#.to_vec(),
    };
    Verified::by_trigger(message, &manifest(), Timestamp(5)).unwrap().record().clone()
}

/// What a handler read, and what it asked to send.
pub(crate) fn transcript() -> Transcript {
    let read = |to: u8, answer| ContractRead {
        call: ContractCall { chain_id: 4690, to: Address::from_bytes([to; 20]), data: vec![1, 2] },
        block: Word([3; 32]),
        answer,
    };
    let returned = read(0xc0, ContractAnswer::Returned(vec![7; 32]));
    Transcript::new(vec![returned, read(0xc1, ContractAnswer::Reverted(vec![]))])
}

pub(crate) fn request() -> TransactionRequest {
    TransactionRequest {
        id: TransactionRequest::id_of(&Digest::of(b"call"), 0),
        operator: Some("payments".parse().unwrap()),
        value: 5,
        data: vec![9],
    }
}

fn triggers() -> Vec<Trigger> {
    let log = LogTrigger {
        chain_id: 4690,
        contract: Address::from_bytes([0xc0; 20]),
        event: Some("Transfer(address,address,uint256)".parse().unwrap()),
        topics: vec![Topic(None), Topic(Some(Word([1; 32])))],
        start_block: Some(7),
        end_block: None,
        confirmations: 12,
    };
    let height = HeightTrigger { chain_id: 4690, height: 100, every: Some(10), confirmations: 1 };
    let transaction = TransactionTrigger { chain_id: 4690, hash: Word([2; 32]), confirmations: 3 };
    let cron = CronTrigger { schedule: "0 * * * *".into(), missed: Missed::All };
    let all = [
        ("transfers", "transfer", TriggerOn::Log(log)),
        ("heights", "height", TriggerOn::Height(height)),
        ("payment", "paid", TriggerOn::Transaction(transaction)),
        ("hourly", "hour", TriggerOn::Cron(cron)),
        ("sent", "transaction", TriggerOn::Sent(SentTrigger {})),
    ];
    let one = |(name, event, on): (&str, &str, _)| Trigger {
        name: name.parse().unwrap(),
        event_type: event.parse().unwrap(),
        on,
    };
    all.map(one).to_vec()
}

fn name(text: &str) -> SqlName {
    text.parse().unwrap()
}

fn database() -> Database {
    let id = SqlColumn {
        name: name("id"),
        datatype: SqlType::Int64,
        null: false,
        default: None,
        autoincrement: true,
    };
    let note = SqlColumn {
        name: name("note"),
        datatype: SqlType::Text,
        null: true,
        default: Some("none".into()),
        autoincrement: false,
    };
    let key = SqlKey { name: name("by_note"), unique: true, columns: vec![name("note")] };
    let table = SqlTable { name: name("notes"), columns: vec![id, note], keys: vec![key] };
    Database { max_bytes: 1_048_576, tables: vec![table] }
}

pub(crate) fn manifest() -> Manifest {
    let route =
        |event: &str, handler: &str| Route { event_type: event.parse().unwrap(), handler: handler.into() };
    Manifest {
        name: "cold-chain".parse().unwrap(),
        owner: owner(),
        version: 3,
        ack: w3bstream_types::AckMode::Committed,
        max_payload_bytes: 65_536,
        allow_tokens: true,
        allow_sessions: true,
        blocks: BlockRules::default(),
        env: vec![("LIMIT".into(), "8".into()), ("UNIT".into(), "celsius".into())],
        applets: vec![Applet {
            name: "alarm".parse().unwrap(),
            program: Digest::of(b"alarm.wasm"),
            routes: vec![route("temperature", "handle"), route("default", "other")],
            limits: GuestLimits::default(),
            partition: w3bstream_types::Partition::Device,
        }],
        settlements: vec![Settlement {
            name: "day".parse().unwrap(),
            chain_id: 4690,
            executor: Address::from_bytes([0xe0; 20]),
            contract: Address::from_bytes([0xc0; 20]),
            fields: ["bytes32 device", "uint32 day", "int32 average"].map(|f| f.parse().unwrap()).to_vec(),
            proof: Some(ProofRule {
                system: "groth16-bn254".into(),
                witness: Digest::of(b"day.wasm"),
                key: Digest::of(b"day.zkey"),
                private: "day/{device}/{day}".into(),
                batch: Some(BatchRule { count: 8, max_delay_ms: 60_000 }),
            }),
        }],
        chains: vec![ChainRule {
            chain_id: 4690,
            read: true,
            send: true,
            confirmations: 2,
            operators: vec!["payments".parse().unwrap()],
        }],
        triggers: triggers(),
        database: Some(database()),
    }
}

/// A subnet with its members' keys, in the order of the genesis.
pub(crate) struct Subnet {
    pub(crate) genesis: Genesis,
    keys: Vec<(SecretKey, SecretKey)>,
}

impl Subnet {
    pub(crate) fn new(members: u8) -> Self {
        let mut all: Vec<_> = (0..members)
            .map(|n| {
                let consensus = key(Algorithm::EdDSA, 100 + n);
                let attestation = key(Algorithm::ES256K, 100 + n);
                let did = Did::key(&consensus.public());
                (Member::sign(did, &consensus, &attestation), (consensus, attestation))
            })
            .collect();
        all.sort_by(|a, b| a.0.did.cmp(&b.0.did));
        let (members, keys) = all.into_iter().unzip();
        let created = Timestamp(1_600_000_000_000);
        let genesis = Genesis {
            project: project(),
            backend: "solo".into(),
            abi_version: 1,
            epoch: 2,
            created,
            members,
        };
        Self { genesis, keys }
    }

    pub(crate) fn certify(&self, block: Block, signers: usize) -> CertifiedBlock {
        let header = block.header();
        let input = Certificate::signing_input(&header.genesis, header);
        let signatures = self.keys.iter().take(signers).map(|(k, _)| k.sign(&input));
        let certificate = Certificate {
            epoch: header.epoch,
            height: header.height,
            block: block.id(),
            signatures: (0..).zip(signatures).collect(),
        };
        CertifiedBlock { block, certificate }
    }

    pub(crate) fn attest(&self, statement: Statement, signers: usize) -> Attestation {
        let signatures = self.keys.iter().take(signers).map(|(_, k)| statement.sign(k).unwrap());
        Attestation { signatures: (0..).zip(signatures).collect(), statement }
    }
}

/// A block of several messages with everything that leads to their receipts.
pub(crate) struct Scenario {
    pub(crate) subnet: Subnet,
    pub(crate) messages: Vec<(Record, Option<PublicKey>)>,
    pub(crate) block: CertifiedBlock,
    pub(crate) outputs: Vec<Output>,
    pub(crate) attestation: Attestation,
}

/// The places of the messages in [`Scenario::messages`].
pub(crate) const ENVELOPE: usize = 0;
pub(crate) const JWS: usize = 1;
pub(crate) const TOKEN: usize = 2;
pub(crate) const TRIGGER: usize = 5;
pub(crate) const REJECTED: usize = 3;
pub(crate) const UNROUTED: usize = 4;

/// The id of the control transaction that each block begins with.
fn control() -> Digest {
    Digest::of(b"a control transaction")
}

pub(crate) fn result(record: &Record, applet: &str, (call, calls): (u64, u64), outputs: u64) -> Output {
    let record = ResultRecord {
        message: record.id(),
        applet: applet.parse().unwrap(),
        handler: "handle".into(),
        program: Digest::of(applet.as_bytes()),
        instrumented: Digest::of(format!("{applet}+gas").as_bytes()),
        code: if outputs == 0 { -1 } else { 0 },
        error: (outputs == 0).then(|| "out-of-gas".into()),
        gas: 12_345,
        call,
        calls,
        outputs,
        event: None,
    };
    let target = record.message.digest().as_bytes().to_vec();
    Output { kind: OutputKind::Result, chain_id: 0, target, data: record.to_canonical() }
}

/// An event that two handlers take.
pub(crate) fn event() -> EventRecord {
    let id = EventRecord::id_of(&Digest::of(b"a call"), 0);
    EventRecord { id, depth: 1, calls: 2, payload: payload_digest(&[7; 16], b"seen") }
}

/// A handler's result of an event.
pub(crate) fn result_of_event(of: Digest, result: Output) -> Output {
    let record = ResultRecord { event: Some(of), ..ResultRecord::from_canonical(&result.data).unwrap() };
    Output { data: record.to_canonical(), ..result }
}

pub(crate) fn other(kind: OutputKind, target: &[u8], data: &[u8]) -> Output {
    Output { kind, chain_id: 0, target: target.to_vec(), data: data.to_vec() }
}

/// The chain of the manifest's settlement.
pub(crate) const CHAIN: u64 = 4690;

fn settlement() -> Output {
    let rule = &manifest().settlements[0];
    let data = [[1; 32], [0; 32], [0; 32]].concat();
    Output { kind: OutputKind::Settlement, chain_id: CHAIN, target: rule.target(), data }
}

/// The link of [`settlement`] as a file has it. What is in it leads nowhere: following it is for those who know chains.
pub(crate) fn settled() -> SettlementLink {
    let rule = manifest().settlements[0].clone();
    SettlementLink {
        index: 7,
        proof: Some(ProofLink { rule, proof: vec![5; 256] }),
        transaction: [6; 32],
        transaction_index: 3,
        header: vec![0xc0, 1],
        receipt: vec![TrieNode(vec![0xc0]), TrieNode(vec![0xc1, 2])],
    }
}

impl Scenario {
    /// `signers` of `members` sign.
    pub(crate) fn new(members: u8, signers: usize) -> Self {
        let messages: Vec<(Record, Option<PublicKey>)> = vec![
            some(envelope(Algorithm::EdDSA, 10)),
            some(jws(Algorithm::ES256, 11)),
            (token(), None),
            some(envelope(Algorithm::ES256K, 12)),
            some(envelope(Algorithm::ES256, 13)),
            (trigger(), None),
        ];
        let id = |at: usize| *messages[at].0.id().digest().as_bytes();
        let outputs = vec![
            other(OutputKind::Control, control().as_bytes(), b""),
            result(&messages[ENVELOPE].0, "alarm", (0, 2), 2),
            other(OutputKind::Mqtt, b"w3b/cold-chain/cmd/all", b"close the door"),
            other(OutputKind::Metric, b"alarm", br#"{"doors":1}"#),
            result(&messages[ENVELOPE].0, "archive", (1, 2), 0),
            result(&messages[JWS].0, "alarm", (0, 1), 2),
            other(OutputKind::Mqtt, b"w3b/cold-chain/cmd/all", b""),
            settlement(),
            result(&messages[TOKEN].0, "alarm", (0, 1), 0),
            other(OutputKind::Rejected, &id(REJECTED), b"revoked"),
            result(&messages[TRIGGER].0, "alarm", (0, 1), 0),
        ];
        Self::of(Subnet::new(members), signers, messages, outputs)
    }

    /// What the first `signers` of the subnet sign, sense or nonsense.
    pub(crate) fn of(
        subnet: Subnet,
        signers: usize,
        messages: Vec<(Record, Option<PublicKey>)>,
        outputs: Vec<Output>,
    ) -> Self {
        let mut entries = vec![Entry::Control(control())];
        entries.extend(messages.iter().map(|(r, _)| Entry::Message(r.id())));
        let place = Place {
            genesis: subnet.genesis.digest(),
            epoch: 2,
            height: 7,
            parent: Digest::of(b"parent"),
            time: Timestamp(1_700_000_000_500),
            proposer: u32::try_from(subnet.genesis.members.len() - 1).unwrap(),
        };
        let block = Block::new(place, entries);
        let executed = Executed::new(
            block.clone(),
            ordered(&block, &messages),
            Digest::of(b"manifest"),
            Digest::of(b"state"),
            outputs.clone(),
        )
        .unwrap();
        let attestation = subnet.attest(executed.statement(project()), signers);
        let block = subnet.certify(block, signers);
        Self { subnet, messages, block, outputs, attestation }
    }

    /// A block of one message, which came in a session.
    pub(crate) fn of_session(members: u8, signers: usize) -> Self {
        let message = session();
        let outputs =
            vec![other(OutputKind::Control, control().as_bytes(), b""), result(&message, "alarm", (0, 1), 0)];
        Self::of(Subnet::new(members), signers, vec![(message, None)], outputs)
    }

    pub(crate) fn receipt(&self, at: usize, with_payload: bool) -> Receipt {
        self.try_receipt(at, with_payload).unwrap()
    }

    pub(crate) fn try_receipt(&self, at: usize, with_payload: bool) -> Result<Receipt, Invalid> {
        let (record, key) = &self.messages[at];
        Receipt::assemble(ReceiptParts {
            record,
            key: key.as_ref(),
            with_payload,
            block: &self.block,
            outputs: &self.outputs,
            attestation: &self.attestation,
            genesis: &self.subnet.genesis,
            settlements: &[settled()],
        })
    }
}

fn some((record, key): (Record, PublicKey)) -> (Record, Option<PublicKey>) {
    (record, Some(key))
}

fn ordered(block: &Block, messages: &[(Record, Option<PublicKey>)]) -> Vec<Ordered> {
    let stored = messages.iter().map(|(record, _)| {
        Stored::from_store(record.clone(), w3bstream_types::Trust::Signature, Timestamp(1), Position(1))
    });
    stored.zip(1..).map(|(stored, index)| Ordered::new(stored, block, index).unwrap()).collect()
}
