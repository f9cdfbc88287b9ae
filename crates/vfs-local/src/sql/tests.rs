use std::collections::BTreeMap;

use pollster::block_on;
use w3bstream_types::*;
use w3bstream_vfs::{Applied, ErrorKind, Vfs, key};

use super::run::SqlDatabase;
use crate::{Config, LocalVfs};

const BUDGET: SqlBudget = SqlBudget {
    gas: 50_000_000,
    step: 50,
    row: 5_000,
    row_byte: 4,
    result_bytes: 100_000,
    database_bytes: 1_000_000,
};

fn column(name: &str, datatype: SqlType) -> SqlColumn {
    SqlColumn { name: name.parse().unwrap(), datatype, null: true, default: None, autoincrement: false }
}

fn declared() -> Database {
    let id = SqlColumn { null: false, autoincrement: true, ..column("id", SqlType::Int64) };
    let kinds = [
        ("name", SqlType::Text),
        ("small", SqlType::Int8),
        ("ratio", SqlType::Float64),
        ("on", SqlType::Bool),
        ("raw", SqlType::Bytes),
        ("price", SqlType::Decimal),
    ];
    let columns = std::iter::once(id).chain(kinds.map(|(name, kind)| column(name, kind))).collect();
    let key =
        SqlKey { name: "by_name".parse().unwrap(), unique: true, columns: vec!["name".parse().unwrap()] };
    let table = SqlTable { name: "Things".parse().unwrap(), columns, keys: vec![key] };
    Database { max_bytes: 1_000_000, tables: vec![table] }
}

/// A database in memory, inside a call.
fn open() -> SqlDatabase {
    let mut database = SqlDatabase::in_memory().unwrap();
    database.begin().unwrap();
    database.declare(None, &declared()).unwrap().unwrap();
    database.begin_call().unwrap();
    database
}

fn statement(text: &str, params: &[SqlValue]) -> SqlStatement {
    SqlStatement { text: text.into(), params: params.to_vec() }
}

fn run(database: &mut SqlDatabase, text: &str) -> SqlOutcome {
    database.run(&statement(text, &[]), &BUDGET).unwrap()
}

fn rows(database: &mut SqlDatabase, text: &str) -> Vec<Vec<SqlValue>> {
    run(database, text).result.unwrap_or_else(|e| panic!("{text}: {e:?}")).rows
}

fn refused(database: &mut SqlDatabase, text: &str) -> String {
    match run(database, text).result {
        Err(SqlRefusal::Refused(why)) => why,
        other => panic!("{text}: {other:?}"),
    }
}

fn int(v: i64) -> SqlValue {
    SqlValue::Integer(v)
}

fn text(v: &str) -> SqlValue {
    SqlValue::Text(v.into())
}

#[test]
fn the_version_is_the_abis() {
    assert_eq!(rusqlite::version(), SQLITE_VERSION, "another SQLite is a new ABI_VERSION; see docs/adr");
}

#[test]
fn values_come_back_as_their_columns_say() {
    let mut d = open();
    let all = [text("é"), int(-128), SqlValue::Real(1.5), int(1), SqlValue::Blob(vec![0, 255]), text("1.10")];
    let insert =
        "INSERT INTO things (name, small, ratio, \"on\", raw, price) VALUES (?, ?, ?, ?, ?, ?) RETURNING id";
    let given = d.run(&statement(insert, &all), &BUDGET).unwrap();
    assert_eq!(given.result.unwrap().rows, [[int(1)]]);
    let mut wanted = all.to_vec();
    wanted[3] = SqlValue::Bool(true);
    assert_eq!(rows(&mut d, "SELECT name, small, ratio, \"on\", raw, price FROM Things"), [wanted]);
    // As the original's users wrote them, by number.
    let by_number = statement("SELECT $2, $1, $2", &[int(1), int(2)]);
    assert_eq!(d.run(&by_number, &BUDGET).unwrap().result.unwrap().rows, [[int(2), int(1), int(2)]]);
    assert_eq!(
        rows(&mut d, "INSERT INTO things (ratio) VALUES (7) RETURNING ratio"),
        [[SqlValue::Real(7.0)]]
    );
    assert_eq!(rows(&mut d, "SELECT name FROM things WHERE id = 2"), [[SqlValue::Null]]);
    for (wrong, why) in [
        ("INSERT INTO things (small) VALUES (128)", "CHECK"),
        ("INSERT INTO things (small) VALUES ('x')", "CHECK"),
        ("INSERT INTO things (\"on\") VALUES (2)", "CHECK"),
        ("INSERT INTO things (name) VALUES ('é')", "UNIQUE"),
        ("INSERT INTO things (name) VALUES (?)", "parameter 1"),
        ("INSERT INTO nothings VALUES (1)", "no such table"),
        ("SELEC 1", "syntax"),
    ] {
        let said = refused(&mut d, wrong);
        assert!(said.contains(why), "{wrong}: {said}");
    }
    let more = d.run(&statement("SELECT 1", &[int(1)]), &BUDGET).unwrap();
    assert!(matches!(more.result, Err(SqlRefusal::Refused(_))));
    assert_eq!(rows(&mut d, "SELECT count(*), count(name) FROM things"), [[int(2), int(1)]]);
}

/// What could be otherwise on another node, or reach out of the project's tables.
const REFUSED: &[&str] = &[
    "ATTACH 'x.db' AS x",
    "DETACH main",
    "PRAGMA user_version",
    "PRAGMA reverse_unordered_selects = 1",
    "SELECT * FROM pragma_table_info('things')",
    "VACUUM",
    "ANALYZE",
    "REINDEX",
    "BEGIN",
    "COMMIT",
    "END",
    "SAVEPOINT s",
    "RELEASE call",
    "ROLLBACK",
    "INSERT OR ROLLBACK INTO things (id) VALUES (1)",
    "CREATE TABLE t (a)",
    "CREATE TEMP TABLE t (a)",
    "CREATE TABLE t AS SELECT 1",
    "CREATE VIEW v AS SELECT 1",
    "CREATE INDEX i ON things (name)",
    "CREATE TRIGGER g AFTER INSERT ON things BEGIN SELECT 1; END",
    "CREATE VIRTUAL TABLE f USING fts5(a)",
    "DROP TABLE things",
    "DROP TRIGGER w3b_things_insert",
    "ALTER TABLE things ADD COLUMN x",
    "EXPLAIN SELECT random()",
    "SELECT random()",
    "SELECT hex(randomblob(4))",
    "SELECT zeroblob(100)",
    "SELECT datetime('now')",
    "SELECT julianday()",
    "SELECT unixepoch('2020-01-01')",
    "SELECT CURRENT_TIMESTAMP",
    "SELECT CURRENT_DATE",
    "SELECT last_insert_rowid()",
    "SELECT changes()",
    "SELECT total_changes()",
    "SELECT sqlite_version()",
    "SELECT sqlite_source_id()",
    "SELECT load_extension('x')",
    "SELECT sin(1)",
    "SELECT likely(1), printf('%d', 1)",
    "SELECT w3b_row('things', 1, 5, 1)",
    "SELECT * FROM sqlite_schema",
    "SELECT * FROM sqlite_master",
    "SELECT count(*) FROM sqlite_schema",
    "SELECT * FROM w3b_meta",
    "UPDATE w3b_meta SET value = 7",
    "SELECT * FROM dbstat",
    "SELECT count(*) FROM dbstat",
    "SELECT * FROM json_each('[1]')",
    "SELECT 1; SELECT 2",
    "SELECT name FROM things WHERE name LIKE '%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%'",
];

#[test]
fn what_is_not_the_same_everywhere_is_refused() {
    let mut d = open();
    for text in REFUSED {
        // Something must be there, or a pattern would not be looked at.
        let _ = run(&mut d, "INSERT OR IGNORE INTO things (name) VALUES ('a')");
        refused(&mut d, text);
        assert!(d.is_open(), "{text} ended the transaction");
    }
    for text in [
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT sum(i) FROM n",
        "SELECT count(*) FROM (SELECT 1 UNION SELECT 2)",
        "WITH two AS (SELECT 1) SELECT count(*) FROM two",
        "SELECT count(*) OVER (ORDER BY id), row_number() OVER (ORDER BY id) FROM things",
        "SELECT group_concat(name, ',') FROM things GROUP BY upper(substr(name, 1, 1))",
        "INSERT INTO things (name) VALUES ('b') ON CONFLICT (name) DO UPDATE SET small = 1",
        "SELECT rowid FROM things ORDER BY random",
    ] {
        let outcome = run(&mut d, text);
        if text.ends_with("random") {
            assert!(outcome.result.is_err(), "no such column");
        } else {
            assert!(outcome.result.is_ok(), "{text}: {outcome:?}");
        }
    }
}

/// All rows with the digests that the triggers told of them.
fn told(d: &SqlDatabase) -> BTreeMap<(String, i64), Digest> {
    d.block().rows.into_iter().filter_map(|(key, digest)| Some((key, digest?))).collect()
}

#[test]
fn every_change_of_a_row_is_seen() {
    // However a database came to its contents, its rows have the same digests.
    let contents = |ways: &[&str]| {
        let mut d = open();
        for way in ways {
            rows(&mut d, way);
        }
        d.end_call(true).unwrap();
        let found = told(&d);
        d.commit(1).unwrap();
        (found, d.height())
    };
    let wanted = contents(&["INSERT INTO things (id, name) VALUES (1, 'a'), (2, 'b')"]);
    assert_eq!(wanted.0.len(), 2);
    for ways in [
        &["INSERT INTO things (id, name) VALUES (2, 'b'), (1, 'a')"][..],
        // REPLACE removes rows of other numbers and tells of it only with recursive triggers.
        &[
            "INSERT INTO things (id, name) VALUES (1, 'a'), (7, 'b')",
            "REPLACE INTO things (id, name) VALUES (2, 'b')",
        ],
        &["INSERT INTO things (id, name) VALUES (1, 'a'), (7, 'b')", "UPDATE things SET id = 2 WHERE id = 7"],
        &[
            "INSERT INTO things (id, name) VALUES (1, 'x'), (2, 'b'), (3, 'c')",
            "INSERT INTO things (id, name) VALUES (1, 'y') ON CONFLICT (id) DO UPDATE SET name = 'a'",
            "DELETE FROM things WHERE id = 3",
        ],
        &[
            "INSERT INTO things (name) VALUES ('q')",
            "DELETE FROM things",
            "INSERT INTO things (name) VALUES ('a'), ('b')",
        ],
        &[
            "INSERT INTO things (id, name) VALUES (1, 'b'), (2, 'a')",
            "UPDATE OR REPLACE things SET name = 'c' WHERE id = 1",
            "UPDATE things SET name = 'b' WHERE id = 2",
            "UPDATE things SET name = 'a' WHERE id = 1",
        ],
    ] {
        assert_eq!(contents(ways), wanted, "{ways:?}");
    }
    let other = contents(&["INSERT INTO things (id, name) VALUES (1, 'a'), (2, 'c')"]);
    assert_ne!(other, wanted);
}

#[test]
fn a_call_is_kept_or_undone_as_a_whole() {
    let mut d = open();
    rows(&mut d, "INSERT INTO things (name) VALUES ('kept')");
    d.end_call(true).unwrap();
    let before = d.block();
    d.begin_call().unwrap();
    rows(&mut d, "INSERT INTO things (name) VALUES ('undone')");
    refused(&mut d, "INSERT INTO things (name) VALUES ('new'), ('kept')");
    assert_eq!(rows(&mut d, "SELECT name FROM things"), [[text("kept")], [text("undone")]]);
    d.end_call(false).unwrap();
    assert_eq!(d.block(), before);
    d.begin_call().unwrap();
    assert_eq!(rows(&mut d, "SELECT name FROM things"), [[text("kept")]]);
}

#[test]
fn a_statement_that_is_stopped_amid_its_changes_undoes_its_call_alone() {
    let mut d = open();
    rows(&mut d, "INSERT INTO things (name) VALUES ('kept')");
    d.end_call(true).unwrap();
    let before = d.block();
    d.begin_call().unwrap();
    rows(&mut d, "INSERT INTO things (name) VALUES ('undone')");
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) INSERT INTO things (name) SELECT i FROM n";
    let stopped = run(&mut d, endless);
    assert_eq!(stopped, SqlOutcome { gas: BUDGET.gas, result: Err(SqlRefusal::OutOfGas) });
    assert!(!d.is_open(), "SQLite undid everything; that is what this test is about");
    d.end_call(true).unwrap();
    assert_eq!(d.block(), before);
    d.begin_call().unwrap();
    assert_eq!(rows(&mut d, "SELECT name FROM things"), [[text("kept")]]);
    // One that only reads is stopped as well.
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    assert_eq!(run(&mut d, endless).result, Err(SqlRefusal::OutOfGas));
    d.end_call(true).unwrap();
    assert_eq!(d.block(), before);
}

#[test]
fn a_statement_that_takes_too_much_memory_is_stopped_by_a_guard() {
    let mut d = open();
    rows(
        &mut d,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150)
         INSERT INTO things (name) SELECT 'n' || i FROM n",
    );
    let wide =
        "SELECT count(*) FROM (SELECT DISTINCT a.name || b.name || hex(a.name) AS t FROM things a, things b)";
    assert!(run(&mut d, wide).result.is_ok());
    d.limit_memory(100_000);
    let e = d.run(&statement(wide, &[]), &BUDGET).unwrap_err().0;
    assert!(e.kind() == ErrorKind::Io && e.to_string().contains("more memory"), "{e}");
}

#[test]
fn gas_follows_from_contents_and_statement() {
    let filled = |noise: bool| {
        let mut d = open();
        if noise {
            // Other pages, other free space, a statement that failed.
            rows(&mut d, "INSERT INTO things (name, raw) VALUES ('x', x'00')");
            rows(&mut d, "DELETE FROM things");
            refused(&mut d, "INSERT INTO things (small) VALUES (1000)");
        }
        rows(
            &mut d,
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
                      INSERT INTO things (id, name, small) SELECT i, 'n' || i, i % 100 FROM n",
        );
        d
    };
    let (mut one, mut other) = (filled(false), filled(true));
    for text in [
        "SELECT count(*) FROM things",
        "SELECT small, count(*) FROM things GROUP BY small ORDER BY 2, 1",
        "SELECT a.name FROM things a JOIN things b ON a.small = b.small AND a.id < b.id",
        "SELECT name FROM things WHERE name LIKE 'n1%'",
        "UPDATE things SET small = small + 1 WHERE id % 7 = 0",
        "DELETE FROM things WHERE small = 3",
        "SELECT max(name), min(id) FROM things",
    ] {
        let (a, b) = (run(&mut one, text), run(&mut other, text));
        assert!(a.result.is_ok() && a.gas > 0, "{text}: {a:?}");
        assert_eq!(a, b, "{text}");
        // To the unit: with one less it does not run.
        let budget = SqlBudget { gas: a.gas, ..BUDGET };
        if text.starts_with("SELECT") {
            assert_eq!(one.run(&statement(text, &[]), &budget).unwrap(), a);
            let less = SqlBudget { gas: a.gas - 1, ..BUDGET };
            assert_eq!(one.run(&statement(text, &[]), &less).unwrap().result, Err(SqlRefusal::OutOfGas));
        }
    }
    // A table is counted row by row.
    let (all, few) = (run(&mut one, "SELECT count(*) FROM things").gas, run(&mut one, "SELECT 1").gas);
    assert!(all > few + 200 * BUDGET.step, "{all} {few}");
}

#[test]
fn limits_are_to_the_byte() {
    let mut d = open();
    let one = SqlBudget { result_bytes: 16 + 1 + 5, ..BUDGET };
    let ask = |d: &mut SqlDatabase, text: &str, budget| d.run(&statement(text, &[]), &budget).unwrap().result;
    assert!(ask(&mut d, "SELECT 'fives' AS a", one).is_ok());
    assert_eq!(ask(&mut d, "SELECT 'sixsix' AS a", one), Err(SqlRefusal::TooMuch));
    d.end_call(true).unwrap();
    d.begin_call().unwrap();
    // 8 for its number, 7 for the kinds of its values, 8 for its id, 4 for its name.
    let room = SqlBudget { database_bytes: 27, ..BUDGET };
    assert!(ask(&mut d, "INSERT INTO things (name) VALUES ('four')", room).is_ok());
    let full = ask(&mut d, "UPDATE things SET name = 'fives'", room);
    assert!(matches!(&full, Err(SqlRefusal::Refused(why)) if why.contains("max-bytes")), "{full:?}");
    assert!(ask(&mut d, "UPDATE things SET name = 'less'", room).is_ok());
    let long = format!("SELECT '{}'", "a".repeat(MAX_STATEMENT_BYTES - 9));
    assert!(ask(&mut d, &long, BUDGET).is_ok());
    assert!(ask(&mut d, &format!("{long} "), BUDGET).is_err());
    let many = vec![int(1); MAX_STATEMENT_PARAMS + 1];
    let text = format!("SELECT {}", vec!["?"; many.len()].join(","));
    assert!(d.run(&statement(&text, &many), &BUDGET).unwrap().result.is_err());
    assert!(refused(&mut d, "INSERT INTO things (id) VALUES (9223372036854775807)").contains("too high"));
    let doubling =
        "WITH RECURSIVE n(t) AS (SELECT 'aaaaaaaa' UNION ALL SELECT t || t FROM n) SELECT t FROM n";
    assert!(refused(&mut d, doubling).contains("too big"));
}

#[test]
fn a_declaration_grows_and_rows_are_told_of_anew() {
    let mut d = open();
    rows(&mut d, "INSERT INTO things (name) VALUES ('a'), ('b')");
    d.end_call(true).unwrap();
    let mut next = declared();
    next.tables[0].columns.push(SqlColumn { default: Some("7".into()), ..column("more", SqlType::Int64) });
    next.tables.push(SqlTable { name: "second".parse().unwrap(), ..declared().tables.remove(0) });
    let before = told(&d);
    d.declare(Some(&declared()), &next).unwrap().unwrap();
    let after = told(&d);
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    assert!(before.iter().all(|(key, digest)| after[key] != *digest));
    d.begin_call().unwrap();
    assert_eq!(rows(&mut d, "SELECT more FROM things"), [[int(7)], [int(7)]]);
    rows(&mut d, "DELETE FROM things");
    d.end_call(true).unwrap();
    d.commit(1).unwrap();
    d.begin().unwrap();
    d.begin_call().unwrap();
    let empty = SqlBudget { database_bytes: 24, ..BUDGET };
    let fits = d.run(&statement("INSERT INTO second (id) VALUES (1)", &[]), &empty).unwrap();
    assert!(fits.result.is_ok(), "an empty database counts no bytes: {fits:?}");
    // What the rows do not allow is refused with the step, and nothing of it stays.
    rows(&mut d, "INSERT INTO second (small) VALUES (5), (5)");
    d.end_call(true).unwrap();
    let mut unique = next.clone();
    unique.tables[1].keys.push(SqlKey {
        name: "one".parse().unwrap(),
        unique: true,
        columns: vec!["small".parse().unwrap()],
    });
    let why = d.declare(Some(&next), &unique).unwrap().unwrap_err();
    assert!(why.contains("UNIQUE"), "{why}");
}

fn project() -> ProjectId {
    ProjectId(Digest::of(b"project"))
}

/// Runs a block on a vfs up to its result.
fn block(vfs: &LocalVfs, height: u64, from: Option<&Database>, texts: &[&str]) -> Applied {
    let mut session = block_on(vfs.sql(project())).unwrap();
    if height == 1 {
        session.declare(from, &declared()).unwrap().unwrap();
    }
    session.begin_call().unwrap();
    for text in texts {
        let outcome = session.run(&statement(text, &[]), &BUDGET).unwrap();
        assert!(outcome.result.is_ok(), "{text}: {outcome:?}");
    }
    session.end_call(true).unwrap();
    let SqlBlock { log, rows } = session.finish().unwrap();
    let writes = rows.into_iter().map(|((table, number), digest)| {
        (key::sql_row(&table, number), digest.map(|d| d.as_bytes().to_vec()))
    });
    Applied {
        height,
        writes: writes.collect(),
        outputs: vec![],
        manifest: Digest::ZERO,
        index: vec![],
        sql: log,
    }
}

fn names(vfs: &LocalVfs) -> Vec<SqlValue> {
    let ask = statement("SELECT name FROM things ORDER BY id", &[]);
    let outcome = block_on(vfs.sql_read(project(), ask, BUDGET)).unwrap();
    outcome.result.unwrap().rows.into_iter().flatten().collect()
}

#[test]
fn a_crash_between_the_state_and_the_database_is_made_good() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path());
    let vfs = LocalVfs::open(&config).unwrap();
    let one = block(&vfs, 1, None, &["INSERT INTO things (name) VALUES ('a')"]);
    let root = block_on(vfs.apply(project(), one.clone())).unwrap();
    assert_eq!(block_on(vfs.apply(project(), one)).unwrap(), root, "again is nothing");
    assert_eq!(names(&vfs), [text("a")]);
    // Run and never stored: nothing of it is there.
    drop(block(&vfs, 2, None, &["INSERT INTO things (name) VALUES ('lost')"]));
    // Stored, and the process ends before the database has it: twice, for two blocks.
    for (height, add) in [(2, "INSERT INTO things (name) VALUES ('b')"), (3, "UPDATE things SET small = id")]
    {
        let applied = block(&vfs, height, None, &[add]);
        vfs.store_state_only(project(), applied);
        if height == 2 {
            assert_eq!(names(&vfs), [text("a")]);
            // The next session finds the log.
        }
    }
    block_on(vfs.close()).unwrap();
    drop(vfs);
    let vfs = LocalVfs::open(&config).unwrap();
    let four = block(&vfs, 4, None, &["INSERT INTO things (name) VALUES ('c')"]);
    let crashed = block_on(vfs.apply(project(), four)).unwrap();
    let calm = tempfile::tempdir().unwrap();
    let other = LocalVfs::open(&Config::new(calm.path())).unwrap();
    let mut root = Digest::ZERO;
    for (height, text) in (1..).zip([
        "INSERT INTO things (name) VALUES ('a')",
        "INSERT INTO things (name) VALUES ('b')",
        "UPDATE things SET small = id",
        "INSERT INTO things (name) VALUES ('c')",
    ]) {
        root = block_on(other.apply(project(), block(&other, height, None, &[text]))).unwrap();
    }
    assert_eq!(crashed, root, "a node that crashed has the root of one that did not");
    assert_eq!(names(&vfs), [text("a"), text("b"), text("c")]);
    let again = statement("SELECT sum(small) FROM things", &[]);
    assert_eq!(block_on(vfs.sql_read(project(), again, BUDGET)).unwrap().result.unwrap().rows, [[int(3)]]);
}

#[test]
fn a_database_that_is_not_the_states_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path());
    let vfs = LocalVfs::open(&config).unwrap();
    for height in 1..=3 {
        let add = format!("INSERT INTO things (name) VALUES ('{height}')");
        block_on(vfs.apply(project(), block(&vfs, height, None, &[&add]))).unwrap();
    }
    // Many blocks, so that the logs of the first ones are gone.
    for height in 4..=140 {
        let change = format!("UPDATE things SET small = {} WHERE id = 1", height % 100);
        block_on(vfs.apply(project(), block(&vfs, height, None, &[&change]))).unwrap();
    }
    block_on(vfs.close()).unwrap();
    drop(vfs);
    let file = dir.path().join("sql").join(format!("{}.db", project().digest()));
    std::fs::rename(&file, dir.path().join("kept")).unwrap();
    let vfs = LocalVfs::open(&config).unwrap();
    let gone = block_on(vfs.sql(project())).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Corrupt, "{gone}");
    assert!(gone.to_string().contains("backup") || format!("{gone:?}").contains("run again"), "{gone:?}");
}

#[test]
fn projects_see_their_own_database_alone() {
    let dir = tempfile::tempdir().unwrap();
    let vfs = LocalVfs::open(&Config::new(dir.path())).unwrap();
    block_on(vfs.apply(project(), block(&vfs, 1, None, &["INSERT INTO things (name) VALUES ('mine')"])))
        .unwrap();
    let other = ProjectId(Digest::of(b"other"));
    let mut session = block_on(vfs.sql(other)).unwrap();
    session.begin_call().unwrap();
    let ask = statement("SELECT * FROM things", &[]);
    assert!(matches!(session.run(&ask, &BUDGET).unwrap().result, Err(SqlRefusal::Refused(_))));
    session.end_call(true).unwrap();
    session.declare(None, &declared()).unwrap().unwrap();
    session.begin_call().unwrap();
    assert_eq!(session.run(&ask, &BUDGET).unwrap().result.unwrap().rows, Vec::<Vec<SqlValue>>::new());
    // Who only looks changes nothing.
    let write = statement("DELETE FROM things", &[]);
    let outcome = block_on(vfs.sql_read(project(), write, BUDGET)).unwrap();
    assert!(outcome.result.is_err(), "{outcome:?}");
    assert_eq!(names(&vfs), [text("mine")]);
}

/// `cargo test -p w3bstream-vfs-local --lib -- --ignored --nocapture rows_per_second`: what a row costs, against SQLite alone.
#[test]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout, reason = "that is what it is for")]
fn rows_per_second() {
    const ROWS: u32 = 1_000;
    const BLOCKS: u64 = 20;
    let rate = |name: &str, run: &mut dyn FnMut(u64)| {
        let began = std::time::Instant::now();
        (1..=BLOCKS).for_each(run);
        let rows = f64::from(ROWS) * BLOCKS as f64;
        println!("{name}: {:.0} rows/s", rows / began.elapsed().as_secs_f64());
    };
    let dir = tempfile::tempdir().unwrap();
    let insert = "INSERT INTO things (name, small, ratio) VALUES (?, ?, ?)";
    let values =
        |block: u64, n: u32| [text(&format!("{block}-{n}")), int(i64::from(n % 100)), SqlValue::Real(0.5)];
    let conn = rusqlite::Connection::open(dir.path().join("plain.db")).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT UNIQUE, small INTEGER, ratio REAL)",
    )
    .unwrap();
    rate("SQLite alone, prepared each time", &mut |block| {
        conn.execute_batch("BEGIN").unwrap();
        for n in 0..ROWS {
            let row = (format!("{block}-{n}"), n % 100, 0.5);
            conn.prepare(insert).unwrap().execute(row).unwrap();
        }
        conn.execute_batch("COMMIT").unwrap();
    });
    let vfs = LocalVfs::open(&Config::new(dir.path())).unwrap();
    let mut statements = std::time::Duration::ZERO;
    rate("a project's database, in the state root", &mut |block| {
        let mut session = block_on(vfs.sql(project())).unwrap();
        if block == 1 {
            session.declare(None, &declared()).unwrap().unwrap();
        }
        let began = std::time::Instant::now();
        for n in 0..ROWS {
            session.begin_call().unwrap();
            let outcome = session.run(&statement(insert, &values(block, n)), &SqlBudget::UNLIMITED).unwrap();
            assert!(outcome.result.is_ok());
            session.end_call(true).unwrap();
        }
        statements += began.elapsed();
        let SqlBlock { log, rows } = session.finish().unwrap();
        let writes = rows.into_iter().map(|((table, number), digest)| {
            (key::sql_row(&table, number), digest.map(|d| d.as_bytes().to_vec()))
        });
        let (outputs, index, manifest) = (vec![], vec![], Digest::ZERO);
        let writes = writes.collect();
        block_on(vfs.apply(project(), Applied { height: block, writes, outputs, manifest, index, sql: log }))
            .unwrap();
    });
    println!(
        "  of it its statements: {:.0} rows/s",
        f64::from(ROWS) * BLOCKS as f64 / statements.as_secs_f64()
    );
    let keys = ProjectId(Digest::of(b"keys"));
    rate("keys of the state, as many", &mut |height| {
        let writes = (0..ROWS).map(|n| (format!("{height}-{n}").into_bytes(), Some(vec![7; 24])));
        let (outputs, index, manifest) = (vec![], vec![], Digest::ZERO);
        let writes = writes.collect();
        block_on(vfs.apply(keys, Applied { height, writes, outputs, manifest, index, sql: vec![] })).unwrap();
    });
}
