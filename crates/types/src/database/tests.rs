use super::*;

fn column(name: &str, datatype: SqlType) -> SqlColumn {
    SqlColumn { name: name.parse().unwrap(), datatype, null: false, default: None, autoincrement: false }
}

fn database() -> Database {
    let id = SqlColumn { autoincrement: true, ..column("id", SqlType::Int64) };
    let note = SqlColumn { null: true, ..column("note", SqlType::Text) };
    let key =
        SqlKey { name: "by_note".parse().unwrap(), unique: false, columns: vec!["note".parse().unwrap()] };
    let table = SqlTable { name: "events".parse().unwrap(), columns: vec![id, note], keys: vec![key] };
    Database { max_bytes: 1000, tables: vec![table] }
}

#[test]
fn a_declaration_is_checked_and_encoded() {
    let good = database();
    good.check().unwrap();
    assert_eq!(Database::from_canonical(&good.to_canonical()).unwrap(), good);
    let wrong = |change: &dyn Fn(&mut Database), said: &str| {
        let mut database = database();
        change(&mut database);
        let error = database.check().unwrap_err().to_string();
        assert!(error.contains(said), "{error} does not say {said}");
        assert!(Database::from_canonical(&database.to_canonical()).is_err());
    };
    wrong(&|d| d.max_bytes = 0, "max-bytes");
    wrong(&|d| d.tables.clear(), "tables");
    wrong(&|d| d.tables[0].columns.clear(), "columns");
    wrong(&|d| d.tables[0].columns.push(column("ID", SqlType::Text)), "column ID stands twice");
    wrong(&|d| d.tables[0].keys[0].columns = vec!["other".parse().unwrap()], "names other");
    wrong(&|d| d.tables[0].columns[0].null = true, "autoincrement needs");
    wrong(&|d| d.tables[0].columns[1].autoincrement = true, "autoincrement needs");
    let small = |default: &str| {
        let default = Some(default.to_owned());
        SqlColumn { default, ..column("small", SqlType::Uint8) }
    };
    wrong(&|d| d.tables[0].columns.push(small("256")), "\"256\" is no Uint8");
    for name in ["", "1a", "a b", "sqlite_x", "W3B_x", "rowid", &"a".repeat(64)] {
        assert!(name.parse::<SqlName>().is_err(), "{name}");
    }
}

#[test]
fn a_declaration_only_grows() {
    let before = database();
    let follows = |change: &dyn Fn(&mut Database)| {
        let mut next = database();
        change(&mut next);
        next.check().unwrap();
        next.follows(&before).map_err(|e| e.to_string())
    };
    let nullable = || SqlColumn { null: true, ..column("new", SqlType::Int8) };
    assert_eq!(follows(&|_| ()), Ok(()));
    assert_eq!(follows(&|d| d.max_bytes = 5), Ok(()));
    assert_eq!(follows(&|d| d.tables[0].columns.push(nullable())), Ok(()));
    let more = SqlTable { name: "more".parse().unwrap(), ..database().tables.remove(0) };
    assert_eq!(follows(&|d| d.tables.insert(0, more.clone())), Ok(()));
    for (change, said) in [
        (
            &(|d: &mut Database| d.tables[0].name = "other".parse().unwrap()) as &dyn Fn(&mut Database),
            "events",
        ),
        (&|d| d.tables[0].columns.insert(0, nullable()), "column id must stay"),
        (&|d| d.tables[0].columns[1].datatype = SqlType::Bytes, "column note holds data"),
        (&|d| d.tables[0].columns.push(column("new", SqlType::Int8)), "null = true or a default"),
        (&|d| d.tables[0].keys.clear(), "key by_note"),
    ] {
        let error = follows(change).unwrap_err();
        assert!(error.contains(said), "{error} does not say {said}");
    }
}

#[test]
fn entries_come_back_as_they_were() {
    let params = vec![
        SqlValue::Null,
        SqlValue::Integer(-7),
        SqlValue::Real(1.5),
        SqlValue::Text("é".into()),
        SqlValue::Blob(vec![0, 255]),
    ];
    let run = SqlEntry::Run(SqlStatement { text: "SELECT ?".into(), params });
    let declare = SqlEntry::Declare { from: Some(database()), to: database() };
    for entry in [run, declare, SqlEntry::Declare { from: None, to: database() }] {
        assert_eq!(SqlEntry::from_canonical(&entry.to_canonical()).unwrap(), entry);
    }
    assert!(SqlValue::from_bytes(&[1, 2]).is_err() && SqlValue::from_bytes(&[]).is_err());
}
