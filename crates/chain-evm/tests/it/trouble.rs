//! What a node may do wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use w3bstream_chain::{BlockId, Call, Chain as _, ErrorKind, Hash, LogBlocks, LogFilter};
use w3bstream_chain_evm::{EvmChain, EvmSettings};
use w3bstream_types::{Address, Algorithm, Disposition, SecretKey};

use crate::block_on;
use crate::server::{Reply, serve};

fn quick(url: &str) -> EvmSettings {
    EvmSettings {
        timeout: Duration::from_millis(300),
        backoff: Duration::from_millis(1),
        max_response: 10_000,
        ..EvmSettings::new(url, 7)
    }
}

/// A node of chain 7 that answers everything else as told; how many other requests it got.
fn node(reply: impl Fn(&str, &Value) -> Reply + Send + Sync + 'static) -> (EvmChain, Arc<AtomicU64>) {
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let url = serve(move |method, params| {
        if method == "eth_chainId" {
            return Reply::Result(json!("0x7"));
        }
        count.fetch_add(1, Ordering::SeqCst);
        reply(method, params)
    });
    (EvmChain::new(quick(&url)).unwrap(), asked)
}

fn kind_of(reply: impl Fn() -> Reply + Send + Sync + 'static) -> (ErrorKind, u64) {
    let (chain, asked) = node(move |_, _| reply());
    let e = block_on(chain.balance(Address::from_bytes([1; 20]))).unwrap_err();
    (e.kind(), asked.load(Ordering::SeqCst))
}

fn transaction() -> w3bstream_chain::SignedTransaction {
    let key = SecretKey::from_bytes(Algorithm::ES256K, &[1; 32]).unwrap();
    let transaction = w3bstream_chain::Transaction {
        chain_id: 7,
        nonce: 0,
        priority_fee: 1,
        max_fee: 2,
        gas_limit: 21_000,
        to: None,
        value: 0,
        data: vec![],
    };
    let signature = key.sign_recoverable(transaction.signing_hash().as_bytes()).unwrap();
    w3bstream_chain::SignedTransaction::new(transaction, &signature).unwrap()
}

#[test]
fn what_is_not_an_answer_is_told_apart_and_reads_are_repeated() {
    let retried = 3;
    assert_eq!(kind_of(|| Reply::Status(503)), (ErrorKind::Unavailable, retried));
    assert_eq!(kind_of(|| Reply::Status(429)), (ErrorKind::Unavailable, retried));
    assert_eq!(kind_of(|| Reply::Status(401)), (ErrorKind::Unavailable, retried));
    assert_eq!(kind_of(|| Reply::error(-32005, "rate limit exceeded")), (ErrorKind::Unavailable, retried));
    assert_eq!(kind_of(|| Reply::CutOff), (ErrorKind::Unavailable, retried));
    assert_eq!(kind_of(|| Reply::error(-32601, "no such method")), (ErrorKind::Unsupported, 1));
    assert_eq!(kind_of(|| Reply::Raw(b"<html>".to_vec())), (ErrorKind::BadAnswer, 1));
    assert_eq!(kind_of(|| Reply::Raw(b"{}".to_vec())), (ErrorKind::BadAnswer, 1));
    assert_eq!(kind_of(|| Reply::Raw(vec![])), (ErrorKind::BadAnswer, 1));
    assert_eq!(kind_of(|| Reply::Result(json!(12))), (ErrorKind::BadAnswer, 1));
    assert_eq!(kind_of(|| Reply::Result(json!("0xzz"))), (ErrorKind::BadAnswer, 1));
    assert_eq!(kind_of(|| Reply::Result(Value::Null)), (ErrorKind::BadAnswer, 1));
    let other_id = || Reply::Raw(br#"{"jsonrpc":"2.0","id":"x","result":"0x1"}"#.to_vec());
    assert_eq!(kind_of(other_id), (ErrorKind::BadAnswer, 1));
}

#[test]
fn an_answer_is_not_read_beyond_its_bound() {
    assert_eq!(kind_of(|| Reply::Result(json!("0".repeat(9_900)))), (ErrorKind::BadAnswer, 1));
    assert_eq!(kind_of(|| Reply::Result(json!("0".repeat(10_001)))), (ErrorKind::TooLarge, 1));
}

#[test]
fn silence_ends_in_time() {
    let started = Instant::now();
    let (kind, asked) = kind_of(|| Reply::Silence(Duration::from_secs(20)));
    assert_eq!((kind, asked), (ErrorKind::Unavailable, 3));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn nobody_there_is_told_without_the_path() {
    // Port 1 is privileged and not in use.
    let chain = EvmChain::new(quick("http://127.0.0.1:1/v1/secret")).unwrap();
    let e = block_on(chain.balance(Address::from_bytes([1; 20]))).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unavailable);
    assert!(e.to_string().contains("http://127.0.0.1:1") && !e.to_string().contains("secret"), "{e}");
    assert!(!format!("{chain:?}").contains("secret"), "{chain:?}");
}

#[test]
fn a_submission_is_sent_once_whatever_happens() {
    for (reply, kind) in [
        (503, ErrorKind::Unavailable),
        (0, ErrorKind::Unavailable),
        (1, ErrorKind::BadAnswer),
        (2, ErrorKind::FeeTooLow),
    ] {
        let (chain, asked) = node(move |_, _| match reply {
            0 => Reply::CutOff,
            1 => Reply::Result(json!(Hash::ZERO.to_string())),
            2 => Reply::error(-32000, "transaction underpriced"),
            status => Reply::Status(status),
        });
        let e = block_on(chain.submit(&transaction())).unwrap_err();
        assert_eq!((e.kind(), asked.load(Ordering::SeqCst)), (kind, 1), "{e}");
    }
    let (chain, _) = node(|_, _| Reply::error(-32000, "already known"));
    block_on(chain.submit(&transaction())).unwrap();
    let (chain, _) = node(|_, params| {
        assert_eq!(params[0], format!("0x{}", hex::encode(transaction().raw())));
        Reply::Result(json!(transaction().hash().to_string()))
    });
    block_on(chain.submit(&transaction())).unwrap();
}

#[test]
fn another_chain_is_a_halt_and_nothing_else_is_asked() {
    let url = serve(|method, _| {
        assert_eq!(method, "eth_chainId");
        Reply::Result(json!("0x1"))
    });
    let chain = EvmChain::new(quick(&url)).unwrap();
    for _ in 0..2 {
        let e = block_on(chain.block(BlockId::Head)).unwrap_err();
        assert_eq!((e.kind(), e.disposition()), (ErrorKind::WrongChain, Disposition::Halt));
        assert!(e.to_string().contains("serves chain 1, not chain 7"), "{e}");
    }
    let e = block_on(chain.submit(&transaction())).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::WrongChain);
}

#[test]
fn a_node_that_starts_late_is_asked_for_its_chain_again() {
    let asked = AtomicU64::new(0);
    let url = serve(move |method, _| match method {
        "eth_chainId" if asked.fetch_add(1, Ordering::SeqCst) < 4 => Reply::Status(502),
        "eth_chainId" => Reply::Result(json!("0x7")),
        _ => Reply::Result(json!("0x5")),
    });
    let chain = EvmChain::new(quick(&url)).unwrap();
    block_on(async {
        let account = Address::from_bytes([1; 20]);
        assert_eq!(chain.balance(account).await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(chain.balance(account).await.unwrap(), 5);
    });
}

fn block_fields(number: u64) -> Value {
    let zero = Hash::ZERO.to_string();
    json!({
        "number": format!("0x{number:x}"), "hash": Hash::of(b"b").to_string(), "parentHash": zero,
        "timestamp": "0x1", "receiptsRoot": zero, "baseFeePerGas": "0x1",
    })
}

#[test]
fn answers_to_other_questions_are_noticed() {
    let (chain, _) = node(|method, _| match method {
        "eth_getBlockByNumber" | "eth_getBlockByHash" => Reply::Result(block_fields(5)),
        "eth_blockNumber" => Reply::Result(json!("0x9")),
        "eth_getLogs" => Reply::Result(json!([{
            "address": Address::from_bytes([1; 20]).to_string(), "topics": [], "data": "0x",
            "blockNumber": "0x5", "blockHash": Hash::of(b"b").to_string(),
            "transactionHash": Hash::ZERO.to_string(), "logIndex": "0x0",
        }])),
        other => panic!("{other}"),
    });
    let filter =
        |from, to, addresses| LogFilter { blocks: LogBlocks::Range { from, to }, addresses, topics: vec![] };
    block_on(async {
        assert_eq!(chain.block(BlockId::Number(5)).await.unwrap().unwrap().number, 5);
        assert_eq!(chain.block(BlockId::Number(4)).await.unwrap_err().kind(), ErrorKind::BadAnswer);
        assert_eq!(
            chain.block(BlockId::Hash(Hash::of(b"c"))).await.unwrap_err().kind(),
            ErrorKind::BadAnswer
        );
        assert_eq!(chain.logs(&filter(5, 5, vec![])).await.unwrap().len(), 1);
        assert_eq!(chain.logs(&filter(6, 7, vec![])).await.unwrap_err().kind(), ErrorKind::BadAnswer);
        let other = vec![Address::from_bytes([2; 20])];
        assert_eq!(chain.logs(&filter(5, 5, other)).await.unwrap_err().kind(), ErrorKind::BadAnswer);
        // The header does not make the hash that the node says.
        let raw = chain.raw_receipts(Hash::of(b"b")).await;
        assert!(raw.is_err());
    });
}

#[test]
fn the_first_block_of_pruned_state_counts_as_unknown() {
    // The account's nonce passed 3 in block 10, but the node knows no state below 20.
    let (chain, _) = node(|method, params| match method {
        "eth_getBlockByNumber" if params[1] == false => Reply::Result(block_fields(40)),
        "eth_getBlockByNumber" => Reply::Result(json!({"transactions": []})),
        "eth_getTransactionCount" => {
            let at = u64::from_str_radix(params[1].as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
            if at < 20 { Reply::error(-32000, "missing trie node 5d") } else { Reply::Result(json!("0x4")) }
        }
        other => panic!("{other}"),
    });
    let account = Address::from_bytes([1; 20]);
    let e = block_on(chain.sent(account, 3)).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::UnknownBlock, "{e}");
    assert_eq!(block_on(chain.sent(account, 4)).unwrap(), None);
}

#[test]
fn older_nodes_without_newer_methods_do() {
    let (chain, _) = node(|method, _| match method {
        "eth_getBlockByNumber" => {
            let mut fields = block_fields(5);
            fields.as_object_mut().unwrap().remove("baseFeePerGas");
            Reply::Result(fields)
        }
        "eth_gasPrice" => Reply::Result(json!("0x64")),
        _ => Reply::error(-32601, "no such method"),
    });
    let fees = block_on(chain.fees()).unwrap();
    assert_eq!((fees.base_fee, fees.priority_fee), (0, 100));
}

#[test]
fn too_many_logs_are_told_so_that_the_range_can_be_narrowed() {
    let (chain, asked) = node(|method, _| match method {
        "eth_blockNumber" => Reply::Result(json!("0xffff")),
        _ => Reply::error(-32005, "query returned more than 10000 results"),
    });
    let filter =
        LogFilter { blocks: LogBlocks::Range { from: 0, to: 9999 }, addresses: vec![], topics: vec![] };
    assert_eq!(block_on(chain.logs(&filter)).unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[test]
fn settings_that_cannot_work_are_refused_at_once() {
    for url in ["ws://127.0.0.1:1", "127.0.0.1:8545", "", "http://a b/secret"] {
        let e = EvmChain::new(EvmSettings::new(url, 1)).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Rejected, "{url}");
        assert!(!e.to_string().contains("secret"), "{e}");
    }
    let authorization = Some("a\nb".to_owned());
    let settings = EvmSettings { authorization, ..EvmSettings::new("http://127.0.0.1:1", 1) };
    assert!(EvmChain::new(settings).is_err());
}

#[test]
fn a_call_that_fails_is_not_an_error_of_the_node() {
    let (chain, asked) = node(|_, _| Reply::Error(3, "execution reverted".into(), json!("0x0102")));
    let call = Call::new(Address::from_bytes([1; 20]), vec![]);
    let outcome = block_on(chain.call(Hash::ZERO, &call)).unwrap();
    assert_eq!(outcome, w3bstream_chain::CallOutcome::Reverted(w3bstream_chain::Revert::new(vec![1, 2])));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}
