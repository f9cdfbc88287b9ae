//! What chains answer, programs, keys, and the node's own files.

use std::collections::VecDeque;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use time::OffsetDateTime;
use w3bstream_chain::encode::{self, Rlp};
use w3bstream_chain::{Hash, Log, LogPlace, SignedTransaction, Transaction};
use w3bstream_consensus::{
    Action, Built, ConsensusSigner, Driver, DriverInput, FileWal, Setup, Solo, Wal as _, factory,
};
use w3bstream_contracts::{OutputRef, Settled, function_selector};
use w3bstream_types::{Address, Algorithm, Digest, Entry, Genesis, Member, PublicKey, SecretKey, Timestamp};
use w3bstream_wallet_file::{DeviceKey, FileWallet, KdfParams, Passphrase};

use super::Seeds;
use super::values::{device, key, project};

pub(super) fn seeds(seeds: &mut Seeds) {
    chain(seeds);
    answers(seeds);
    events(seeds);
    proofs(seeds);
    programs(seeds);
    files(seeds);
    certificates(seeds);
    settings(seeds);
    w3bstream_engine_worker::fuzzing::samples()
        .into_iter()
        .for_each(|frame| seeds.put("worker_frame", frame));
}

fn transaction(to: Option<Address>) -> SignedTransaction {
    let transaction = Transaction {
        chain_id: 4689,
        nonce: 7,
        priority_fee: 1_000_000_000,
        max_fee: 2_000_000_000,
        gas_limit: 210_000,
        to,
        value: 0,
        data: vec![1, 2, 3, 4],
    };
    let signature =
        key(Algorithm::ES256K, 6).sign_recoverable(transaction.signing_hash().as_bytes()).unwrap();
    SignedTransaction::new(transaction, &signature).unwrap()
}

fn chain(seeds: &mut Seeds) {
    let address = Address::from_bytes([0xc0; 20]);
    for to in [None, Some(address)] {
        seeds.put("chain_transaction", transaction(to).raw());
    }
    let at = LogPlace { number: 0, block: Hash::ZERO, transaction: Hash::ZERO, index: 0 };
    let log = Log { address, topics: vec![Hash::of(b"a"), Hash::of(b"b")], data: vec![5; 40], at };
    let receipt = encode::receipt(true, 70_000, &[log]);
    let header =
        [32, 32, 20, 32, 32, 32, 256].iter().fold(Rlp::new(), |list, len| list.bytes(&vec![7; *len]));
    let header = [0, 9, 30_000_000, 21_000, 1_800_000_000].iter().fold(header, |list, n| list.uint(*n));
    let header = header.bytes(b"extra").bytes(&[3; 32]).bytes(&[0; 8]).uint(7).into_list();
    for bytes in [receipt, header, transaction(None).raw()[1..].to_vec()] {
        seeds.put("rlp", bytes.as_slice());
        seeds.put("chain_block", bytes);
    }
    seeds.put("chain_block", [&[3, 9, 40], [7; 900].as_slice()].concat());
}

fn answers(seeds: &mut Seeds) {
    let (word, address) = (format!("0x{}", "1f".repeat(32)), format!("0x{}", "c0".repeat(20)));
    let log = format!(
        r#"{{"address":"{address}","topics":["{word}"],"data":"0x0102","blockNumber":"0x9","blockHash":"{word}","transactionHash":"{word}","transactionIndex":"0x0","logIndex":"0x1","removed":false}}"#
    );
    let transaction = format!(
        r#"{{"hash":"{word}","from":"{address}","nonce":"0x7","blockHash":"{word}","blockNumber":"0x9","transactionIndex":"0x0","type":"0x2","to":"{address}","value":"0x0","gas":"0x5208","maxFeePerGas":"0x77","maxPriorityFeePerGas":"0x7","gasPrice":"0x70","input":"0x01"}}"#
    );
    let bloom = "00".repeat(256);
    let results = [
        r#""0x1237""#.to_owned(),
        format!(r#"[{log}]"#),
        format!(
            r#"{{"number":"0x9","hash":"{word}","parentHash":"{word}","timestamp":"0x65","receiptsRoot":"{word}","baseFeePerGas":"0x7","transactions":[{transaction}]}}"#
        ),
        transaction.clone(),
        format!(
            r#"{{"type":"0x2","transactionHash":"{word}","transactionIndex":"0x0","blockHash":"{word}","blockNumber":"0x9","gasUsed":"0x5208","cumulativeGasUsed":"0x5208","effectiveGasPrice":"0x7","contractAddress":null,"status":"0x1","logsBloom":"0x{bloom}","from":"{address}","to":"{address}","logs":[{log}]}}"#
        ),
        r#"{"oldestBlock":"0x8","baseFeePerGas":["0x7","0x8"],"gasUsedRatio":[0.5]}"#.to_owned(),
    ];
    for result in results {
        seeds.put("chain_answer", format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#));
    }
    seeds.texts(
        "chain_answer",
        &[
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":3,"message":"execution reverted: no","data":"0x08c379a0"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"nonce too low","data":{"data":"0x01"}}}"#,
        ],
    );
}

fn word(n: u64) -> [u8; 32] {
    let mut word = [0; 32];
    word[24..].copy_from_slice(&n.to_be_bytes());
    word
}

fn events(seeds: &mut Seeds) {
    let output = OutputRef { subnet: Digest::of(b"subnet"), epoch: 0, height: 7, index: 2 };
    let mut receiver = [0; 32];
    receiver[12..].copy_from_slice(&[0xc0; 20]);
    let topics = [Settled::topic(), *output.subnet.as_bytes(), receiver, output.id()].concat();
    let data = [word(0), word(7), word(2), *Digest::of(b"leaf").as_bytes()].concat();
    seeds.with("contract_event", 4, &[topics, data].concat());
    seeds.put("contract_event", word(1));
    let day = [3, 1, 9, 5, 0, 1, 0, 7, 2].map(word).concat();
    seeds.put("contract_event", [day.as_slice(), &[9; 32]].concat());
    let reverted = function_selector("ReceiverReverted(address,bytes)");
    let arguments = [receiver, word(64), word(4), [1; 32]].concat();
    seeds.put("contract_event", [reverted.as_slice(), &arguments].concat());
    seeds.put("contract_event", [&function_selector("AlreadyExecuted(bytes32)")[..], &word(1)].concat());
    seeds.put("contract_event", std::fs::read("../../artefacts/cold-chain-day.vkey.json").unwrap());
    seeds.put(
        "contract_event",
        r#"{"pi_a":["1","2","1"],"pi_b":[["1","2"],["3","4"],["1","0"]],"pi_c":["1","2","1"]}"#,
    );
}

fn proofs(seeds: &mut Seeds) {
    seeds.put("proof", [1; 256]);
    seeds.put("proof", "21888242871839275222246405745257275088548364400416034343698204186575808495616");
    let statement =
        [*Digest::of(b"device").as_bytes(), word(20_000), [0xff; 32], word(0xc0), word(1)].concat();
    seeds.put("signals", [statement.as_slice(), br#"{"readings":["1","-2","3"],"salt":"77"}"#].concat());
    seeds.put("signals", [statement.as_slice(), br#"{"day":"1"}"#].concat());
    let zkey = std::fs::read("../../artefacts/cold-chain-day.zkey").unwrap();
    seeds.put("proving_key", small_key(&zkey));
    seeds.put("proving_key", [small_key(&zkey), vec![1; 256]].concat());
}

/// A key with three signals, one of them public, a domain of two, and points of a real key.
fn small_key(zkey: &[u8]) -> Vec<u8> {
    let mut sections: Vec<(u32, &[u8])> = Vec::new();
    let mut rest = &zkey[12..];
    while let [a, b, c, d, behind @ ..] = rest {
        let (length, body) = behind.split_first_chunk::<8>().unwrap();
        let (body, behind) = body.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
        sections.push((u32::from_le_bytes([*a, *b, *c, *d]), body));
        rest = behind;
    }
    let mut out = [b"zkey".as_slice(), &1u32.to_le_bytes(), &10u32.to_le_bytes()].concat();
    for (kind, body) in sections {
        let body = match kind {
            2 => [&body[..72], &3u32.to_le_bytes(), &1u32.to_le_bytes(), &2u32.to_le_bytes(), &body[84..]]
                .concat(),
            3 => body[..2 * 64].to_vec(),
            // One coefficient, of matrix A, at constraint 1 and signal 2.
            4 => [
                &1u32.to_le_bytes(),
                &0u32.to_le_bytes(),
                &1u32.to_le_bytes(),
                &2u32.to_le_bytes(),
                &body[16..48],
            ]
            .concat(),
            5 | 6 => body[..3 * 64].to_vec(),
            7 => body[..3 * 128].to_vec(),
            8 => body[..64].to_vec(),
            9 => body[..2 * 64].to_vec(),
            10 => Vec::new(),
            _ => body.to_vec(),
        };
        out.extend(kind.to_le_bytes());
        out.extend((body.len() as u64).to_le_bytes());
        out.extend(body);
    }
    out
}

fn programs(seeds: &mut Seeds) {
    let wasm = |text: &str| wat::parse_str(text).unwrap();
    let handler = wasm(
        r#"(module (import "env" "ws_log" (func $log (param i32 i32 i32) (result i32)))
            (memory (export "memory") 1 4) (table 2 funcref) (elem (i32.const 0) $h) (data (i32.const 8) "hello")
            (global $g (mut f64) (f64.const 0))
            (func (export "alloc") (param i32) (result i32) (i32.const 1024))
            (func $h (export "start") (param i32) (result i32) (local i64)
                (block $out (loop $again
                    (global.set $g (f64.div (global.get $g) (f64.const 3)))
                    (local.set 1 (i64.add (local.get 1) (i64.const 1)))
                    (br_if $out (i64.gt_u (local.get 1) (i64.const 9))) (br $again)))
                (drop (memory.grow (i32.const 1)))
                (memory.fill (i32.const 0) (i32.const 0) (local.get 0))
                (call $log (i32.const 3) (i32.const 8) (i32.const 5))))"#,
    );
    seeds.with("program", 0, &handler);
    let table = wasm(
        r#"(module (type $t (func (param i32) (result i32))) (memory (export "memory") 1) (table 4 8 funcref)
            (func $s) (start $s)
            (func (export "f") (param i32) (result i32)
                (br_table 0 0 (local.get 0) (local.get 0)))
            (func (export "g") (param i32) (result i32)
                (if (result i32) (local.get 0) (then (call_indirect (type $t) (i32.const 1) (i32.const 0))) (else (unreachable)))))"#,
    );
    seeds.with("program", 0, &table);
    for how in [1, 7, 15] {
        let bytes: Vec<u8> = (0..600_u32).map(|n| u8::try_from((n * n * 7 + n) % 251).unwrap()).collect();
        seeds.with("program", how, &bytes);
    }
    let prime: String = w3bstream_prover::MODULUS.iter().rev().map(|b| format!("\\{b:02x}")).collect();
    let circuit = format!(
        r#"(module (import "runtime" "exceptionHandler" (func (param i32)))
            (memory (export "memory") 1) (data (i32.const 1024) "{prime}")
            (func (export "getVersion") (result i32) (i32.const 2))
            (func (export "getFieldNumLen32") (result i32) (i32.const 8))
            (func (export "getRawPrime") (memory.copy (i32.const 0) (i32.const 1024) (i32.const 32)))
            (func (export "readSharedRWMemory") (param i32) (result i32) (i32.load (i32.mul (local.get 0) (i32.const 4))))
            (func (export "writeSharedRWMemory") (param i32 i32) (i32.store (i32.mul (local.get 0) (i32.const 4)) (local.get 1)))
            (func (export "getInputSize") (result i32) (i32.const 0))
            (func (export "getInputSignalSize") (param i32 i32) (result i32) (i32.const 1))
            (func (export "getWitnessSize") (result i32) (i32.const 2))
            (func (export "init") (param i32))
            (func (export "setInputSignal") (param i32 i32 i32))
            (func (export "getWitness") (param i32)
                (memory.fill (i32.const 0) (i32.const 0) (i32.const 32)) (i32.store (i32.const 0) (i32.const 1))))"#
    );
    seeds.put("witness_program", wasm(&circuit));
    seeds.put("witness_program", wasm("(module)"));
    seeds.texts(
        "guest_json",
        &[
            r#"{"device":"truck-7","c":-1250,"x":1.5e3,"n":null,"b":[true,{"a":"\u00e4\n"}],"o":{}}"#,
            r#" { "a" : 9223372036854775807 , "\ud83d\ude00" : false } "#,
            "{}",
        ],
    );
}

#[derive(Debug)]
struct Signer(SecretKey);

impl ConsensusSigner for Signer {
    fn public(&self) -> Result<PublicKey, w3bstream_consensus::Error> {
        Ok(self.0.public())
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], w3bstream_consensus::Error> {
        Ok(self.0.sign(message))
    }
}

/// The log of a driver that has committed a block, its records, and logs that end early.
fn consensus(seeds: &mut Seeds) {
    let (folder, secret) = (tempfile::tempdir().unwrap(), key(Algorithm::EdDSA, 4));
    let genesis = Genesis {
        project: project(),
        backend: "solo".into(),
        abi_version: 1,
        epoch: 0,
        created: Timestamp(1),
        members: vec![Member::sign(device(), &secret, &key(Algorithm::ES256K, 6))],
    };
    let setup = Setup::new(genesis, Some(0), factory::<Solo>(), Arc::new(Signer(secret)));
    let mut driver = Driver::open(setup, Box::new(FileWal::open(folder.path()).unwrap())).unwrap();
    let mut inputs = VecDeque::from([DriverInput::Start { applied: 0 }, DriverInput::Pending]);
    let mut now = Timestamp(10);
    while !inputs.is_empty() {
        for action in driver.handle_batch(now, inputs.drain(..).collect()).unwrap() {
            match action {
                Action::Build(request) => {
                    let entries = vec![Entry::Control(Digest::of(b"tx"))];
                    inputs.push_back(DriverInput::Built(Built { slot: request.slot, entries, time: now }));
                }
                Action::Committed(block) => {
                    let height = block.block.header().height;
                    inputs.push_back(DriverInput::Applied { height, state_root: Digest::ZERO });
                }
                _ => {}
            }
        }
        now.0 += 1;
    }
    drop(driver);
    let whole = std::fs::read(folder.path().join("consensus.wal")).unwrap();
    for cut in [0, 3, whole.len() - 32] {
        seeds.put("consensus_log", &whole[..whole.len() - cut]);
    }
    for record in FileWal::open(folder.path()).unwrap().read().unwrap() {
        seeds.put("consensus_log", record);
    }
}

fn files(seeds: &mut Seeds) {
    let folder = tempfile::tempdir().unwrap();
    consensus(seeds);
    for count in [1u8, 2, 40] {
        let writes = (0..count).map(|n| (vec![n], Some(vec![n, n]))).collect();
        let none = |_: &[u8]| Ok(None);
        let change = w3bstream_vfs::tree::update(&none, w3bstream_vfs::tree::EMPTY_ROOT, &writes).unwrap();
        change.put.into_iter().take(4).for_each(|(_, node)| seeds.put("state_node", node));
    }
    for (n, algorithm) in [Algorithm::EdDSA, Algorithm::ES256, Algorithm::ES256K].into_iter().enumerate() {
        let path = folder.path().join(format!("{n}.jwk"));
        DeviceKey::from_secret(key(algorithm, 3)).save(&path).unwrap();
        seeds.put("key_file", std::fs::read(path).unwrap());
    }
    let path = folder.path().join("wallet.json");
    FileWallet::create_with(&path, &Passphrase::new("open".into()), KdfParams::INSECURE).unwrap();
    seeds.put("key_file", std::fs::read(path).unwrap());
}

fn certificates(seeds: &mut Seeds) {
    let at = |secs: i64| OffsetDateTime::from_unix_timestamp(secs).unwrap();
    let (from, until) = (at(1_799_000_000), at(1_900_000_000));
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (from, until);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let sign = |names: Vec<SanType>| {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        (params.not_before, params.not_after) = (from, until);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &authority).unwrap(), key)
    };
    let (server, key) = sign(vec![SanType::DnsName("localhost".try_into().unwrap())]);
    let list = CertificateRevocationListParams {
        this_update: from,
        next_update: until,
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from(7),
            revocation_time: from,
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&authority).unwrap().pem().unwrap();
    let parts = [server.pem(), key.serialize_pem(), authority.pem(), list];
    seeds.with("tls_files", 1, parts.join("\0").as_bytes());
    seeds.with("tls_files", 0, parts.concat().as_bytes());
    let uris =
        [device().as_str(), "https://example.org/pump"].map(|uri| SanType::URI(uri.try_into().unwrap()));
    seeds.put("tls_peer", sign(uris.to_vec()).0.der().to_vec());
    seeds.put("tls_peer", server.der().to_vec());
}

fn settings(seeds: &mut Seeds) {
    seeds.put("node_settings", toml::to_string(&w3bstream_node::Config::default()).unwrap());
    let users = "[[user]]\nname = \"pump\"\npassword = \"$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA\"\nsubscribe = [\"w3b/#\"]\n";
    seeds.put("node_settings", users);
    seeds.put("node_settings", format!("devices = [\"{}\"]\nany-registered-device = true\n", device()));
    seeds.put("project_manifest", std::fs::read("../../examples/cold-chain/w3bstream.toml").unwrap());
    seeds.put("project_manifest", std::fs::read("../node/src/cli/template/w3bstream.toml.txt").unwrap());
    let triggers = "name = \"p\"\n[[triggers]]\nname = \"hourly\"\nevent-type = \"e\"\ncron = { schedule = \"0 * * * *\" }\n\
        [[triggers]]\nname = \"t\"\nevent-type = \"e\"\nlog = { chain-id = 1, contract = \"0x00000000000000000000000000000000000000c0\", event = \"T(address)\" }\n\
        [[triggers]]\nname = \"h\"\nevent-type = \"e\"\nheight = { chain-id = 1, height = 5, every = 2, confirmations = 1 }\n";
    seeds.put("project_manifest", triggers);
    seeds.texts(
        "json_rpc",
        &[
            r#"{"jsonrpc":"2.0","id":1,"method":"w3b_value","params":{"project":"a/b?c","applet":"x","key":"k"}}"#,
            r#"[{"jsonrpc":"2.0","id":"x","method":"w3b_receipt","params":["00","true"]},{"jsonrpc":"2.0","method":"w3b_status"}]"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"w3b_putProgram","params":["AAEC"]}"#,
            r#"{"jsonrpc":"2.0","id":2,"method":"rpc.discover"}"#,
        ],
    );
}
