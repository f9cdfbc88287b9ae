use pollster::block_on;
use w3bstream_sqlite::Options;
use w3bstream_types::OutputKind;
use w3bstream_vfs::conformance::Builder;
use w3bstream_vfs::{ErrorKind, MemoryVfs, Writes, tree};

use super::*;

struct InFolder(tempfile::TempDir);

impl InFolder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn config(&self) -> Config {
        // Small limits, so that queues, group commits and checkpoints are used.
        let sqlite = Options { checkpoint_pages: 64, cache_kib: 256, ..Options::default() };
        Config { sqlite, ..Config::new(self.0.path().join("vfs")) }
    }

    fn vfs(&self) -> LocalVfs {
        LocalVfs::open(&self.config()).unwrap()
    }

    /// Runs SQL on the closed database, as damage from outside.
    fn damage(&self, sql: &str) -> usize {
        rusqlite::Connection::open(self.0.path().join("vfs/state.db")).unwrap().execute(sql, []).unwrap()
    }
}

#[async_trait]
impl Builder for InFolder {
    async fn open(&self) -> Box<dyn Vfs> {
        Box::new(self.vfs())
    }

    async fn damage_program(&self, digest: Digest) -> bool {
        let path = self.vfs().programs.path(digest);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[0] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        true
    }
}

mod kit {
    w3bstream_vfs::vfs_conformance!(super::InFolder::new());
}

fn project() -> ProjectId {
    ProjectId(Digest::of(b"project"))
}

fn block(height: u64, writes: Writes) -> Applied {
    let output = Output { kind: OutputKind::Mqtt, chain_id: 0, target: b"topic".to_vec(), data: vec![1] };
    let index = vec![(MessageId(Digest::of(&height.to_be_bytes())), 0, 1)];
    Applied { height, writes, outputs: vec![output], manifest: Digest::of(b"manifest"), index, sql: vec![] }
}

fn some_writes(height: u64) -> Writes {
    // A multiplicative generator is enough: the model is another implementation, not chance.
    let mut n = height.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..12)
        .map(|_| {
            n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = vec![1 + (n >> 60) as u8 % 8, (n >> 40) as u8, (n >> 32) as u8 % 4];
            let value = (n >> 20 & 7 > 1).then(|| n.to_be_bytes()[..(n >> 10 & 7) as usize].to_vec());
            (key, value)
        })
        .collect()
}

#[test]
fn five_hundred_blocks_give_the_roots_of_the_memory_vfs() {
    let folder = InFolder::new();
    let memory = MemoryVfs::new();
    block_on(async {
        let mut local = folder.vfs();
        for height in 1..=500 {
            let applied = block(height, some_writes(height));
            let wanted = memory.apply(project(), applied.clone()).await.unwrap();
            assert_eq!(local.apply(project(), applied).await.unwrap(), wanted, "height {height}");
            if height % 97 == 0 {
                // Without a close, as when the process is killed between two blocks.
                drop(local);
                local = folder.vfs();
            }
        }
        let all = local.scan(project(), b"", b"", usize::MAX).await.unwrap();
        assert!(all.len() > 1000, "the test writes too little: {}", all.len());
        assert_eq!(all, memory.scan(project(), b"", b"", usize::MAX).await.unwrap());
        let root = tree::root_of(all.iter().map(|(k, v)| (&k[..], &v[..])));
        assert_eq!(local.head(project()).await.unwrap(), (500, root));
        assert_eq!(local.integrity_check().await.unwrap(), Vec::<String>::new());
    });
}

#[test]
fn stale_nodes_are_pruned() {
    let folder = InFolder::new();
    let vfs = folder.vfs();
    let nodes = || {
        let count = |tx: &Transaction<'_>| Ok(tx.query_row("SELECT count(*) FROM node", [], |r| r.get(0))?);
        block_on(vfs.read(count)).unwrap()
    };
    let set = |value: u8| (0..100).map(|n| (vec![1, n], Some(vec![value]))).collect::<Writes>();
    block_on(vfs.apply(project(), block(1, set(1)))).unwrap();
    let first: i64 = nodes();
    for height in 2..20 {
        block_on(vfs.apply(project(), block(height, set(height as u8)))).unwrap();
    }
    assert_eq!(nodes(), first, "a hundred keys need as many nodes however often they are written");
    let delete = (0..100).map(|n| (vec![1, n], None)).collect();
    let root = block_on(vfs.apply(project(), block(20, delete))).unwrap();
    assert_eq!((nodes(), root), (0, tree::EMPTY_ROOT));
}

#[test]
fn an_unfinished_apply_leaves_nothing_and_can_be_repeated() {
    let folder = InFolder::new();
    block_on(async {
        let vfs = folder.vfs();
        vfs.apply(project(), block(1, some_writes(1))).await.unwrap();
        let head = vfs.head(project()).await.unwrap();
        // All statements of a block run, and then the job fails: what a kill before the commit leaves.
        let applied = block(2, some_writes(2));
        let job = move |tx: &Transaction<'_>| {
            state::apply(tx, project(), (&applied, 0))?;
            Err::<(), _>(Fault(Error::new(ErrorKind::Io, "killed")))
        };
        vfs.database.write(1, job).await.unwrap_err();
        assert_eq!(vfs.head(project()).await.unwrap(), head);
        assert_eq!(vfs.result(project(), 2).await.unwrap(), None);
        drop(vfs);
        let vfs = folder.vfs();
        let root = vfs.apply(project(), block(2, some_writes(2))).await.unwrap();
        let all = vfs.scan(project(), b"", b"", usize::MAX).await.unwrap();
        assert_eq!(root, tree::root_of(all.iter().map(|(k, v)| (&k[..], &v[..]))));
    });
}

#[test]
fn a_newer_database_is_refused_and_left_alone() {
    let folder = InFolder::new();
    block_on(folder.vfs().close()).unwrap();
    folder.damage("PRAGMA user_version = 3");
    let before = std::fs::read(folder.0.path().join("vfs/state.db")).unwrap();
    let e = LocalVfs::open(&folder.config()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Incompatible);
    assert!(e.to_string().contains("use a newer program"), "{e}");
    assert_eq!(std::fs::read(folder.0.path().join("vfs/state.db")).unwrap(), before);
}

#[test]
fn a_damaged_state_is_corrupt_and_never_a_wrong_root() {
    for sql in [
        "DELETE FROM node WHERE path = x'00'",
        "UPDATE node SET bytes = zeroblob(length(bytes))",
        "UPDATE node SET bytes = (SELECT bytes FROM node WHERE path = x'00')",
        "DELETE FROM node WHERE path > x'00'",
        "UPDATE project SET root = zeroblob(32)",
        "UPDATE project SET root = zeroblob(31)",
        "UPDATE project SET height = -1",
    ] {
        let folder = InFolder::new();
        block_on(async {
            let vfs = folder.vfs();
            let writes = || (0..40).map(|n| (vec![1, n], Some(vec![n]))).collect::<Writes>();
            vfs.apply(project(), block(1, writes())).await.unwrap();
            vfs.close().await.unwrap();
            assert!(folder.damage(sql) > 0, "{sql} changes nothing");
            let vfs = folder.vfs();
            let other = (0..40).map(|n| (vec![1, n], Some(vec![n, n]))).collect();
            let e = vfs.apply(project(), block(2, other)).await.unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Corrupt, "{sql}: {e}");
        });
    }
}

#[test]
fn damaged_outputs_and_a_missing_result_are_corrupt() {
    for sql in
        ["UPDATE result SET outputs = x'81'", "UPDATE result SET outputs = x'8000'", "DELETE FROM result"]
    {
        let folder = InFolder::new();
        block_on(async {
            let vfs = folder.vfs();
            vfs.apply(project(), block(1, some_writes(1))).await.unwrap();
            vfs.close().await.unwrap();
            folder.damage(sql);
            let vfs = folder.vfs();
            let e = vfs.apply(project(), block(1, some_writes(1))).await.unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Corrupt, "{sql}: {e}");
        });
    }
}

#[test]
fn a_copy_of_the_state_opens_as_a_store() {
    let folder = InFolder::new();
    let other = InFolder::new();
    block_on(async {
        let vfs = folder.vfs();
        let root = vfs.apply(project(), block(1, some_writes(1))).await.unwrap();
        std::fs::create_dir(other.0.path().join("vfs")).unwrap();
        vfs.copy_state_to(&other.0.path().join("vfs/state.db")).await.unwrap();
        vfs.apply(project(), block(2, some_writes(2))).await.unwrap();
        assert_eq!(other.vfs().head(project()).await.unwrap(), (1, root));
    });
}

#[test]
fn a_program_over_the_limit_is_refused() {
    let folder = InFolder::new();
    let vfs = LocalVfs::open(&Config { max_program_bytes: 3, ..folder.config() }).unwrap();
    assert_eq!(block_on(vfs.put_program(vec![0; 4])).unwrap_err().kind(), ErrorKind::TooLarge);
    block_on(vfs.put_program(vec![0; 3])).unwrap();
}
