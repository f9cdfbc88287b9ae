//! A chain with a contract that counts, a signer that may fail, a journal that may fail, and a chain that watches.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use w3bstream_chain::memory::{Effect, Env, FlakyChain, MemoryChain, Storage, Troubles};
use w3bstream_chain::submit::{
    Account, Intent, IntentId, MemoryTxJournal, Offered, Ports, Report, Settings, Submitter, TxJournal,
    TxSigner,
};
use w3bstream_chain::{
    Block, BlockId, Call, CallOutcome, Chain, Error, ErrorKind, Fees, Hash, Log, LogFilter, MinedTransaction,
    Nonces, RawReceipts, Receipt, Revert, SignedTransaction, Simulation, Transaction, TxStatus, async_trait,
};
use w3bstream_types::{Address, Algorithm, Digest, SecretKey, Timestamp, keccak256};

pub(crate) const CHAIN: u64 = 7;
pub(crate) const ETHER: u128 = 1_000_000_000_000_000_000;

pub(crate) fn key() -> SecretKey {
    SecretKey::from_bytes(Algorithm::ES256K, &[9; 32]).unwrap()
}

pub(crate) fn account() -> Address {
    Address::of_key(&key().public()).unwrap()
}

pub(crate) fn counter() -> Address {
    Address::from_bytes([0xcc; 20])
}

/// Counts how often it was called with each data; data that start with `!` fail with what follows.
fn count(env: &Env<'_>, storage: &mut Storage) -> Result<Effect, Revert> {
    if let [b'!', reason @ ..] = env.data {
        return Err(Revert::new(reason.to_vec()));
    }
    // Data that start with `1` work once only.
    let entry = storage.entry(keccak256(env.data)).or_default();
    if env.data.first() == Some(&b'1') && entry[31] > 0 {
        return Err(Revert::new(b"again".to_vec()));
    }
    entry[31] += 1;
    Ok(Effect::default())
}

pub(crate) fn intent(n: u64) -> Intent {
    calling(n, format!("intent {n}").as_bytes())
}

pub(crate) fn calling(n: u64, data: &[u8]) -> Intent {
    let id = IntentId(Digest::tagged("test/intent", &[&n.to_be_bytes()]));
    Intent { id, to: counter(), value: 0, data: data.to_vec() }
}

pub(crate) fn signed(nonce: u64, gwei: u128, data: &[u8]) -> SignedTransaction {
    let transaction = Transaction {
        chain_id: CHAIN,
        nonce,
        priority_fee: gwei * 1_000_000_000,
        max_fee: gwei * 1_000_000_000,
        gas_limit: 200_000,
        to: Some(counter()),
        value: 0,
        data: data.to_vec(),
    };
    let signature = key().sign_recoverable(transaction.signing_hash().as_bytes()).unwrap();
    SignedTransaction::new(transaction, &signature).unwrap()
}

/// How often something took effect.
pub(crate) fn effects(chain: &MemoryChain, data: &[u8]) -> u8 {
    chain.storage(counter()).get(&keccak256(data)).map_or(0, |v| v[31])
}

/// A random number below `n` from a state that moves on (xorshift64*).
pub(crate) fn dice(state: &mut u64, n: u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
}

#[derive(Debug)]
pub(crate) struct Signer {
    pub(crate) fails: Mutex<(u64, u64)>,
}

#[async_trait]
impl TxSigner for Signer {
    fn address(&self) -> Address {
        account()
    }

    async fn sign_hash(&self, hash: &Hash) -> Result<[u8; 65], Error> {
        let mut fails = self.fails.lock().unwrap();
        let (state, percent) = &mut *fails;
        if dice(state, 100) < *percent {
            return Err(Error::new(ErrorKind::Signer, "the signer is away"));
        }
        Ok(key().sign_recoverable(hash.as_bytes()).unwrap())
    }
}

/// A journal whose saves fail now and then, before or after they were written.
#[derive(Debug)]
pub(crate) struct FlakyJournal {
    pub(crate) inner: MemoryTxJournal,
    pub(crate) fails: Mutex<(u64, u64)>,
}

#[async_trait]
impl TxJournal for FlakyJournal {
    async fn load(&self, account: Account) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        self.inner.load(account).await
    }

    async fn save(&self, account: Account, changes: Vec<(u64, Option<Vec<u8>>)>) -> Result<(), Error> {
        let (before, after) = {
            let mut fails = self.fails.lock().unwrap();
            let (state, percent) = &mut *fails;
            (dice(state, 100) < *percent, dice(state, 100) < *percent)
        };
        let broken = || Error::new(ErrorKind::Journal, "the disk is away");
        if before {
            return Err(broken());
        }
        self.inner.save(account, changes).await?;
        if after { Err(broken()) } else { Ok(()) }
    }
}

/// What a submission is answered with instead of going through.
type Hook = Box<dyn FnMut(&SignedTransaction) -> Option<Error> + Send>;

/// Sees that everything that is sent is in the journal, and answers as a test wants.
pub(crate) struct Watched {
    pub(crate) inner: Arc<FlakyChain>,
    pub(crate) journal: MemoryTxJournal,
    pub(crate) hook: Mutex<Hook>,
    /// Added to counts of transactions.
    pub(crate) lie: AtomicI64,
    pub(crate) submitted: Mutex<Vec<SignedTransaction>>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

#[async_trait]
impl Chain for Watched {
    async fn chain_id(&self) -> Result<u64, Error> {
        // A process that starts is not what is tested here.
        Ok(CHAIN)
    }

    async fn block(&self, id: BlockId) -> Result<Option<Block>, Error> {
        self.inner.block(id).await
    }

    async fn call(&self, at: Hash, call: &Call) -> Result<CallOutcome, Error> {
        self.inner.call(at, call).await
    }

    async fn simulate(&self, call: &Call) -> Result<Simulation, Error> {
        self.inner.simulate(call).await
    }

    async fn nonces(&self, account: Address) -> Result<Nonces, Error> {
        let nonces = self.inner.nonces(account).await?;
        let latest = nonces.latest.saturating_add_signed(self.lie.load(Ordering::SeqCst));
        Ok(Nonces { latest, ..nonces })
    }

    async fn balance(&self, account: Address) -> Result<u128, Error> {
        self.inner.balance(account).await
    }

    async fn fees(&self) -> Result<Fees, Error> {
        self.inner.fees().await
    }

    async fn submit(&self, transaction: &SignedTransaction) -> Result<(), Error> {
        let account = Account { chain_id: CHAIN, address: account() };
        let records = self.journal.load(account).await?;
        let nonce = transaction.transaction().nonce;
        let record =
            records.iter().find(|(n, _)| *n == nonce).expect("a nonce that is sent is in the journal");
        let written = record.1.windows(transaction.raw().len()).any(|w| w == transaction.raw());
        assert!(written, "{transaction:?} is sent before it is in the journal");
        self.submitted.lock().unwrap().push(transaction.clone());
        let answer = (self.hook.lock().unwrap())(transaction);
        match answer {
            Some(e) => Err(e),
            None => self.inner.submit(transaction).await,
        }
    }

    async fn receipt(&self, transaction: Hash) -> Result<Option<Receipt>, Error> {
        self.inner.receipt(transaction).await
    }

    async fn status(&self, transaction: Hash) -> Result<TxStatus, Error> {
        self.inner.status(transaction).await
    }

    async fn transaction(&self, hash: Hash) -> Result<Option<MinedTransaction>, Error> {
        self.inner.transaction(hash).await
    }

    async fn sent(&self, account: Address, nonce: u64) -> Result<Option<Hash>, Error> {
        self.inner.sent(account, nonce).await
    }

    async fn logs(&self, filter: &LogFilter) -> Result<Vec<Log>, Error> {
        self.inner.logs(filter).await
    }

    async fn raw_receipts(&self, block: Hash) -> Result<RawReceipts, Error> {
        self.inner.raw_receipts(block).await
    }
}

/// Everything around a submitter.
pub(crate) struct Bench {
    pub(crate) memory: Arc<MemoryChain>,
    pub(crate) chain: Arc<Watched>,
    pub(crate) journal: Arc<FlakyJournal>,
    pub(crate) signer: Arc<Signer>,
    pub(crate) settings: Settings,
    pub(crate) now: u64,
}

impl Bench {
    pub(crate) fn new(seed: u64, troubles: Troubles) -> Self {
        let memory = Arc::new(MemoryChain::new(CHAIN));
        memory.fund(account(), 1_000_000 * ETHER);
        memory.place(counter(), Arc::new(count));
        let inner = Arc::new(FlakyChain::new(memory.clone(), seed, troubles));
        let journal = MemoryTxJournal::default();
        let chain = Watched {
            inner,
            journal: journal.clone(),
            hook: Mutex::new(Box::new(|_| None)),
            lie: AtomicI64::new(0),
            submitted: Mutex::default(),
        };
        let settings = Settings {
            confirmations: 4,
            max_in_flight: 5,
            bump_after: 40_000,
            resend_after: 15_000,
            ..Settings::default()
        };
        let fails = |n: u64| Mutex::new((seed.wrapping_mul(n).wrapping_add(n) | 1, 0));
        Self {
            memory,
            chain: Arc::new(chain),
            journal: Arc::new(FlakyJournal { inner: journal, fails: fails(77) }),
            signer: Arc::new(Signer { fails: fails(99) }),
            settings,
            now: 1_000_000,
        }
    }

    /// A submitter as after the start of a process.
    pub(crate) async fn open(&self) -> Submitter {
        Submitter::open(self.ports(), CHAIN, self.settings.clone()).await.unwrap()
    }

    pub(crate) fn ports(&self) -> Ports {
        Ports { chain: self.chain.clone(), journal: self.journal.clone(), signer: self.signer.clone() }
    }

    pub(crate) fn hook(&self, hook: impl FnMut(&SignedTransaction) -> Option<Error> + Send + 'static) {
        *self.chain.hook.lock().unwrap() = Box::new(hook);
    }

    pub(crate) async fn tick(&mut self, submitter: &mut Submitter) -> Report {
        self.now += 12_000;
        submitter.tick(Timestamp(self.now)).await.unwrap()
    }

    /// A block, then a tick.
    pub(crate) async fn block(&mut self, submitter: &mut Submitter) -> Report {
        self.memory.mine();
        self.tick(submitter).await
    }

    pub(crate) async fn offer(&self, submitter: &mut Submitter, intent: Intent) -> Offered {
        submitter.offer(intent, Timestamp(self.now)).await.unwrap()
    }

    pub(crate) fn submitted(&self) -> Vec<SignedTransaction> {
        self.chain.submitted.lock().unwrap().clone()
    }
}
