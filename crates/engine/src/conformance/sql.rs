//! Statements of SQL, as an engine carries them between guest and host.

use std::sync::Arc;

use super::Checked;
use super::rig::{Rig, ensure, handler, same, saving};
use crate::abi::{code, price};
use crate::{Engine, GuestError};

const OUT: &str = "(i32.const 16) (i32.const 20)";

/// A request in memory, and handlers `NAME` that queries and `set_NAME` that executes it.
fn asks(name: &str, at: usize, json: &str) -> String {
    let len = json.len();
    let text = json.replace('\\', "\\5c").replace('"', "\\22").replace('\n', "\\0a");
    [
        format!("(data (i32.const {at}) \"{text}\")"),
        saving(name, &format!("(call $get_sql (i32.const {at}) (i32.const {len}) {OUT})")),
        handler(&format!("set_{name}"), &format!("(call $set_sql (i32.const {at}) (i32.const {len}))")),
    ]
    .concat()
}

pub(super) fn statements_answer_in_three_shapes(engine: &Arc<dyn Engine>) -> Checked {
    let all = r#"[{"int32":-7},{"int64":9007199254740993},{"float32":0.5},{"float64":2.5},{"string":"é\n"},{"bool":true},
                  {"bytes":"AP8="},{"bytes":"AP8"},{"time":"1970-01-01T00:00:00.000001Z"},{"string":null}]"#;
    let fields = [
        asks("none", 1_000, r#"{"statement":"none","params":[]}"#),
        asks("params", 1_200, &format!(r#"{{"statement":"params","params":{all}}}"#)),
        asks("many", 2_000, r#"{"statement":"many","params":[{"int32":1}]}"#),
    ];
    let mut rig = Rig::new(engine, &fields.concat())?;
    same("no rows", rig.saved("none")?.as_slice(), b"")?;
    let one = "{\"c1\":-7,\"c10\":null,\"c2\":9007199254740993,\"c3\":0.5,\"c4\":2.5,\"c5\":\"é\\n\",\"c6\":1,\
               \"c7\":\"AP8=\",\"c8\":\"AP8=\",\"c9\":1}";
    same("one row", String::from_utf8_lossy(&rig.saved("params")?).as_ref(), one)?;
    same("two rows", rig.saved("many")?.as_slice(), br#"[{"c1":1},{"c1":1}]"#)?;
    for name in ["set_none", "set_params", "set_many"] {
        rig.returns(name, code::OK)?;
    }
    Ok(())
}

pub(super) fn statements_that_fail_have_codes(engine: &Arc<dyn Engine>) -> Checked {
    let fields = [
        asks("none", 1_000, r#"{"statement":"none","params":[]}"#),
        asks("no_params", 1_200, r#"{"statement":"none"}"#),
        asks("wrong_param", 1_400, r#"{"statement":"none","params":[{"int8":1}]}"#),
        asks("fails", 1_600, r#"{"statement":"fails","params":[]}"#),
        asks("no_json", 1_800, "none"),
        handler("outside", &format!("(call $get_sql (i32.const 65530) (i32.const 7) {OUT})")),
        handler("negative", &format!("(call $get_sql (i32.const -1) (i32.const 7) {OUT})")),
        handler("set_outside", "(call $set_sql (i32.const 0) (i32.const -1))"),
        handler(
            "no_copy",
            "(call $get_sql (i32.const 1000) (i32.const 32) (i32.const 65533) (i32.const 20))",
        ),
    ];
    let mut rig = Rig::new(engine, &fields.concat())?;
    for name in ["no_params", "wrong_param", "fails", "no_json"] {
        for name in [name.to_owned(), format!("set_{name}")] {
            let outcome = rig.returns(&name, code::FAILED)?;
            ensure(!outcome.logs.is_empty(), || format!("{name} does not say why"))?;
        }
    }
    for name in ["outside", "negative", "set_outside"] {
        rig.returns(name, code::NOT_FOUND)?;
    }
    rig.returns("no_copy", code::COPY_FAILED)?;
    rig.state.0.insert(b"no database".to_vec(), vec![]);
    rig.returns("none", code::NO_DATABASE)?;
    rig.returns("set_none", code::NO_DATABASE)?;
    Ok(())
}

pub(super) fn statements_are_paid_and_limited(engine: &Arc<dyn Engine>) -> Checked {
    let (none, dear) = (r#"{"statement":"none","params":[]}"#, r#"{"statement":"dear","params":[]}"#);
    let fields = [
        asks("none", 1_000, none),
        asks("dear", 1_200, dear),
        asks("large", 1_400, r#"{"statement":"large","params":[]}"#),
        asks("params", 1_600, r#"{"statement":"params","params":[{"string":"0123456789"}]}"#),
        asks("refused", 1_800, none.replace("none", "nil!").as_str()),
    ];
    let mut rig = Rig::new(engine, &fields.concat())?;
    // The two differ by what the host says that they cost.
    let gas = rig.returns("set_none", code::OK)?.gas;
    let refused = rig.returns("set_refused", code::FAILED)?.gas;
    let work = price::SQL_STEP * 10 + price::SQL_ROW + price::KV_SET_BYTE;
    ensure(gas >= refused - 100 + work && gas <= refused + 100 + work, || {
        format!("a statement of {work} gas cost {gas}, one of 1 gas {refused}")
    })?;
    ensure(refused >= price::SQL_STATEMENT + price::SQL_STATEMENT_BYTE * none.len() as u64, || {
        format!("a statement cost {refused}")
    })?;
    let outcome = rig.fails("set_dear", GuestError::OutOfGas)?;
    same("gas of a statement that used all", &outcome.gas, &rig.limits.gas)?;
    rig.fails("set_large", GuestError::SqlLimit)?;
    rig.fails("large", GuestError::SqlLimit)?;
    let asked = r#"{"statement":"params","params":[{"string":"0123456789"}]}"#.len() as u64;
    rig.limits.sql_bytes = asked + 11;
    rig.returns("params", code::OK)?;
    rig.limits.sql_bytes = asked + 10;
    rig.fails("params", GuestError::SqlLimit)?;
    rig.limits.sql_bytes = asked - 1;
    rig.fails("set_params", GuestError::SqlLimit)?;
    Ok(())
}
