use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use pollster::block_on;
use w3bstream_types::Digest;

use super::*;
use crate::conformance::SumBuilder;
use crate::{ErrorKind, MemoryArtefacts, Sum};

fn id(name: &str) -> JobId {
    JobId(Digest::of(name.as_bytes()))
}

/// [`Sum`] that counts what is asked of it and does odd things on demand.
#[derive(Clone, Debug, Default)]
struct Odd {
    loads: Arc<AtomicUsize>,
    proofs: Arc<AtomicUsize>,
    panics: bool,
    forges: bool,
}

impl System for Odd {
    type Circuit = Digest;

    fn name(&self) -> &str {
        Sum.name()
    }

    fn roles(&self) -> &[&str] {
        Sum.roles()
    }

    fn load(&self, files: &Files) -> Result<Digest, Error> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        Sum.load(files)
    }

    fn prove(&self, circuit: &Digest, job: &Job, control: &Control) -> Result<Vec<u8>, Error> {
        assert!(!(self.panics && self.proofs.fetch_add(1, Ordering::Relaxed) == 0), "on purpose");
        let mut proof = Sum.prove(circuit, job, control)?;
        if self.forges {
            proof[0] ^= 1;
        }
        Ok(proof)
    }

    fn verifying_key(&self, circuit: &Digest) -> Result<Vec<u8>, Error> {
        Sum.verifying_key(circuit)
    }

    fn verify(&self, claim: &Claim) -> Result<(), Error> {
        assert!(claim.proof != b"panic", "on purpose");
        Sum.verify(claim)
    }
}

/// Counts reads.
#[derive(Debug, Default)]
struct Counted(MemoryArtefacts, AtomicUsize);

#[async_trait]
impl Artefacts for Counted {
    async fn artefact(&self, digest: Digest) -> Result<Vec<u8>, Error> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.artefact(digest).await
    }
}

fn open(system: Odd, config: PoolConfig) -> (Pool<Odd>, Arc<Counted>) {
    let artefacts = Arc::new(Counted::default());
    for file in SumBuilder.files() {
        artefacts.0.add(file);
    }
    let given: Arc<dyn Artefacts> = Arc::<Counted>::clone(&artefacts);
    (Pool::open(system, given, config).unwrap(), artefacts)
}

fn proved(pool: &Pool<Odd>, name: &str, job: Job) -> Vec<u8> {
    block_on(pool.submit(id(name), job)).unwrap();
    match block_on(pool.finished(id(name))).unwrap() {
        State::Proved(proof) => proof,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_circuit_is_read_and_loaded_once() {
    let system = Odd::default();
    let (pool, artefacts) = open(system.clone(), PoolConfig::default());
    for number in 0..5 {
        proved(&pool, &number.to_string(), SumBuilder.job(number));
    }
    let job = SumBuilder.job(0);
    block_on(pool.verifying_key(&job.system, &job.artefacts)).unwrap();
    assert_eq!((system.loads.load(Ordering::Relaxed), artefacts.1.load(Ordering::Relaxed)), (1, 1));
}

#[test]
fn the_circuit_used_longest_ago_is_dropped() {
    let system = Odd::default();
    let (pool, artefacts) = open(system.clone(), PoolConfig { circuits: 2, ..PoolConfig::default() });
    let digests = ["sum a", "sum b", "sum c"].map(|text| artefacts.0.add(text.into()));
    let mut number = 0;
    let mut prove = |circuit: usize| {
        let mut job = SumBuilder.job(number);
        job.artefacts.insert("program".into(), digests[circuit]);
        proved(&pool, &number.to_string(), job);
        number += 1;
        system.loads.load(Ordering::Relaxed)
    };
    assert_eq!([prove(0), prove(1), prove(0), prove(2), prove(0), prove(1)], [1, 2, 2, 3, 3, 4]);
}

#[test]
fn a_panic_ends_its_job_and_no_other() {
    let (pool, _) = open(Odd { panics: true, ..Odd::default() }, PoolConfig::default());
    block_on(pool.submit(id("a"), SumBuilder.job(0))).unwrap();
    match block_on(pool.finished(id("a"))).unwrap() {
        State::Failed(failure) => assert_eq!(failure.kind, ErrorKind::Internal),
        other => panic!("{other:?}"),
    }
    proved(&pool, "b", SumBuilder.job(1));
    block_on(pool.retry(id("a"))).unwrap();
    assert!(matches!(block_on(pool.finished(id("a"))).unwrap(), State::Proved(_)));
}

#[test]
fn a_panic_in_a_verification_harms_no_other() {
    let (pool, _) = open(Odd::default(), PoolConfig::default());
    let job = SumBuilder.job(0);
    let key = block_on(pool.verifying_key(&job.system, &job.artefacts)).unwrap();
    let proof = proved(&pool, "a", job.clone());
    let claim = Claim { system: job.system.clone(), verifying_key: key, public: job.public.values(), proof };
    let bad = Claim { proof: b"panic".to_vec(), ..claim.clone() };
    assert_eq!(block_on(pool.verify(bad)).unwrap_err().kind(), ErrorKind::Internal);
    block_on(pool.verify(claim)).unwrap();
}

#[test]
fn a_proof_that_does_not_verify_is_not_given_away() {
    let (pool, _) = open(Odd { forges: true, ..Odd::default() }, PoolConfig::default());
    block_on(pool.submit(id("a"), SumBuilder.job(0))).unwrap();
    match block_on(pool.finished(id("a"))).unwrap() {
        State::Failed(failure) => assert_eq!(failure.kind, ErrorKind::Internal),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wrong_file_fails_the_job() {
    let (pool, artefacts) = open(Odd::default(), PoolConfig::default());
    let job = SumBuilder.job(0);
    artefacts.0.put(job.artefacts["program"], b"sum of something else".to_vec());
    block_on(pool.submit(id("a"), job)).unwrap();
    match block_on(pool.finished(id("a"))).unwrap() {
        State::Failed(failure) => assert_eq!(failure.kind, ErrorKind::WrongDigest),
        other => panic!("{other:?}"),
    }
}

#[test]
fn jobs_run_beside_each_other_on_several_threads() {
    let (pool, _) = open(Odd::default(), PoolConfig { threads: 2, ..PoolConfig::default() });
    for number in 0..2 {
        block_on(pool.submit(id(&number.to_string()), SumBuilder.slow(number))).unwrap();
    }
    let running = |number: u64| matches!(block_on(pool.state(id(&number.to_string()))).unwrap(), State::Running(_));
    let both = (0..1000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(1));
        running(0) && running(1)
    });
    assert!(both);
    block_on(pool.close()).unwrap();
}

#[test]
fn those_who_wait_learn_that_the_pool_was_closed() {
    let (pool, _) = open(Odd::default(), PoolConfig::default());
    for number in 0..2 {
        block_on(pool.submit(id(&number.to_string()), SumBuilder.slow(number))).unwrap();
    }
    std::thread::scope(|scope| {
        let waiters: Vec<_> =
            (0..2).map(|n| scope.spawn({ let pool = &pool; move || block_on(pool.finished(id(&n.to_string()))) })).collect();
        std::thread::sleep(std::time::Duration::from_millis(20));
        block_on(pool.close()).unwrap();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
        }
    });
    assert!(format!("{pool:?}").contains("jobs: 0"), "{pool:?}");
}

#[test]
fn a_dropped_pool_ends_its_threads() {
    let system = Odd::default();
    let (pool, _) = open(system.clone(), PoolConfig::default());
    block_on(pool.submit(id("a"), SumBuilder.slow(0))).unwrap();
    drop(pool);
    // Each thread holds the system through what it shares with the pool.
    for _ in 0..5000 {
        if Arc::strong_count(&system.loads) == 1 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("a thread outlives its pool");
}
