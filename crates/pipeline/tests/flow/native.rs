//! An engine without WebAssembly.

use super::*;

/// An engine whose programs are the names of Rust functions.
#[derive(Debug)]
pub(crate) struct Native;

struct NativeModule(String);

impl fmt::Debug for NativeModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Engine for Native {
    fn name(&self) -> &str {
        "native"
    }

    fn load(&self, program: &[u8]) -> Result<Arc<dyn Module>, w3bstream_engine::Error> {
        Ok(Arc::new(NativeModule(String::from_utf8_lossy(program).into_owned())))
    }
}

impl Module for NativeModule {
    fn program(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    fn instrumented(&self) -> Digest {
        self.program()
    }

    fn handlers(&self) -> Vec<String> {
        vec!["run".into()]
    }

    fn uses(&self) -> Uses {
        Uses { events: self.0 == "emits", database: self.0 == "asks" }
    }

    fn call(&self, call: Call<'_>, state: &mut dyn HostState) -> Result<Outcome, w3bstream_engine::Error> {
        let before = state.kv_get(b"count")?.map_or(0, |v| v[0]);
        let mut outcome = Outcome {
            result: Ok(i32::from(before)),
            gas: 10,
            writes: BTreeMap::from([(b"count".to_vec(), vec![before.wrapping_add(1)])]),
            removed: std::collections::BTreeSet::new(),
            outputs: vec![Output {
                kind: OutputKind::Mqtt,
                chain_id: 0,
                target: b"seen".to_vec(),
                data: call.payload.to_vec(),
            }],
            logs: Vec::new(),
            cut: w3bstream_engine::Cut::default(),
        };
        if let ("settles", Some(rule)) = (self.0.as_str(), call.settlements.first()) {
            let data = Digest::of(call.payload).as_bytes().to_vec();
            let (chain_id, target) = (rule.chain_id, rule.target());
            outcome.outputs = vec![Output { kind: OutputKind::Settlement, chain_id, target, data }];
            outcome.writes.insert(b"private".to_vec(), b"{}".to_vec());
        }
        if let ("reads", Some(rule)) = (self.0.as_str(), call.chains.first()) {
            let to = call.env[0].1.parse().unwrap();
            let asked = ContractCall { chain_id: rule.chain_id, to, data: call.payload.to_vec() };
            let value = match state.contract(&asked)? {
                Some(ContractAnswer::Returned(data)) => data,
                Some(ContractAnswer::Reverted(_)) => b"reverts".to_vec(),
                None => b"unknown".to_vec(),
            };
            outcome.writes.insert(b"answer".to_vec(), value);
        }
        // What a transaction says of itself is not answered by another one.
        if let ("sends", Some(rule), "reading") =
            (self.0.as_str(), call.chains.first(), call.event_type.as_str())
        {
            let to: Address = call.env[0].1.parse().unwrap();
            let operator = call.env.get(1).map(|(_, name)| name.parse().unwrap());
            let id = TransactionRequest::id_of(&call.id, 0);
            let request = TransactionRequest { id, operator, value: 0, data: call.payload.to_vec() };
            let (target, data) = (to.as_bytes().to_vec(), request.to_canonical());
            let kind = OutputKind::Transaction;
            outcome.outputs = vec![Output { kind, chain_id: rule.chain_id, target, data }];
            outcome.writes.insert(b"id".to_vec(), id.as_bytes().to_vec());
        }
        match self.0.as_str() {
            "slower" => outcome.gas += 1,
            "sleeps" => std::thread::sleep(Duration::from_millis(20)),
            "panics" => panic!("an engine that should not"),
            // Counts on from its own state, another way from the third message on.
            "jumps" if before >= 2 => {
                outcome.writes.insert(b"count".to_vec(), vec![before.wrapping_add(10)]);
            }
            "hoards" => {
                outcome.writes.insert(call.payload.to_vec(), vec![0; 1000]);
            }
            // Not what an engine may do.
            "fickle" => outcome.gas += FICKLE.load(Ordering::SeqCst),
            "emits" => events::emit(&call, state, &mut outcome)?,
            _ => {}
        }
        if self.0 == "fails" {
            outcome = Outcome {
                result: Err(GuestError::Trap),
                writes: BTreeMap::new(),
                outputs: vec![],
                ..outcome
            };
        }
        Ok(outcome)
    }
}

pub(crate) static FICKLE: AtomicU64 = AtomicU64::new(0);
