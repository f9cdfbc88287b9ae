//! In what two runs of the same calls differ. Replays and canaries compare with this.

use std::collections::BTreeSet;

use serde::Serialize;
use w3bstream_types::{AppletName, Canonical as _, MessageId, Output, OutputKind, ResultRecord};
use w3bstream_vfs::Writes;

use crate::call::{Done, Traced};

/// How many characters of a value are shown.
const SHOWN: usize = 200;

/// What differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Field {
    /// What a handler returned, or why it did not.
    Code,
    /// An output; its name is its place among the call's outputs, or among the block's.
    Output,
    /// A key of the applet's state; its name is the key.
    Write,
    /// The gas of a call.
    Gas,
    /// Which calls were made.
    Call,
    /// A row of the project's database; only the digest of a row is compared.
    Row,
    /// The root of the state after a block.
    StateRoot,
}

impl Field {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Code, Self::Output, Self::Write, Self::Gas, Self::Call, Self::Row, Self::StateRoot];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Output => "output",
            Self::Write => "write",
            Self::Gas => "gas",
            Self::Call => "call",
            Self::Row => "row",
            Self::StateRoot => "state-root",
        }
    }
}

/// The first thing in which two runs differ. Values are cut to 200 characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The block.
    pub height: u64,
    /// The message; absent if the difference is the whole block's.
    pub message: Option<MessageId>,
    /// The applet.
    pub applet: Option<AppletName>,
    /// The handler.
    pub handler: Option<String>,
    /// What differs.
    pub field: Field,
    /// Which of them: a key, a place; empty if there is just one.
    pub name: String,
    /// As it was.
    pub old: String,
    /// As it is.
    pub new: String,
}

impl Difference {
    fn of_block(height: u64, (field, name): (Field, String), old: String, new: String) -> Self {
        Self { height, message: None, applet: None, handler: None, field, name, old, new }
    }

    /// Another root of the state.
    pub(crate) fn of_roots(height: u64, old: impl ToString, new: impl ToString) -> Self {
        Self::of_block(height, (Field::StateRoot, String::new()), old.to_string(), new.to_string())
    }
}

/// Bytes for people: text if they are, else hex, and not too many.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let printable = |text: &&str| !text.chars().any(char::is_control);
    match std::str::from_utf8(bytes).ok().filter(printable) {
        Some(text) if text.chars().nth(SHOWN).is_none() => text.to_owned(),
        Some(text) => {
            format!("{}… ({} bytes)", text.chars().take(SHOWN).collect::<String>(), bytes.len())
        }
        None => {
            let hex: String = bytes.iter().take(SHOWN / 2).map(|b| format!("{b:02x}")).collect();
            let rest =
                if bytes.len() > SHOWN / 2 { format!("… ({} bytes)", bytes.len()) } else { String::new() };
            format!("0x{hex}{rest}")
        }
    }
}

fn output(output: Option<&Output>) -> String {
    let Some(output) = output else { return "none".into() };
    let chain = if output.chain_id == 0 { String::new() } else { format!(" chain {}", output.chain_id) };
    let kind = format!("{:?}", output.kind).to_lowercase();
    format!("{kind}{chain} {} {}", shown(&output.target), shown(&output.data))
}

fn value(written: Option<&Option<Vec<u8>>>) -> String {
    match written {
        None => "not written".into(),
        Some(None) => "removed".into(),
        Some(Some(value)) => shown(value),
    }
}

fn code(done: &Done) -> String {
    done.result.map_or_else(|why| why.code().to_owned(), |code| code.to_string())
}

/// What differs between two runs of one call: code, outputs, writes and, unless it does not count, gas, in this order.
pub(crate) fn calls(old: &Done, new: &Done, gas: bool) -> Option<(Field, String, String, String)> {
    if old.result != new.result {
        return Some((Field::Code, String::new(), code(old), code(new)));
    }
    let most = old.outputs.len().max(new.outputs.len());
    if let Some(i) = (0..most).find(|i| old.outputs.get(*i) != new.outputs.get(*i)) {
        return Some((Field::Output, i.to_string(), output(old.outputs.get(i)), output(new.outputs.get(i))));
    }
    let keys: BTreeSet<&Vec<u8>> = old.writes.keys().chain(new.writes.keys()).collect();
    if let Some(key) = keys.into_iter().find(|key| old.writes.get(*key) != new.writes.get(*key)) {
        return Some((Field::Write, shown(key), value(old.writes.get(key)), value(new.writes.get(key))));
    }
    (gas && old.gas != new.gas).then(|| (Field::Gas, String::new(), old.gas.to_string(), new.gas.to_string()))
}

/// The first difference between the calls of a block in two runs.
pub(crate) fn blocks(height: u64, old: &[Traced], new: &[Traced], gas: bool) -> Option<Difference> {
    let named = |call: &Traced, (field, name, old, new)| Difference {
        height,
        message: Some(call.message),
        applet: Some(call.applet.clone()),
        handler: Some(call.handler.clone()),
        field,
        name,
        old,
        new,
    };
    for i in 0..old.len().max(new.len()) {
        match (old.get(i), new.get(i)) {
            (Some(a), Some(b))
                if (a.message, a.about(), &a.applet, &a.handler)
                    == (b.message, b.about(), &b.applet, &b.handler) =>
            {
                if let Some(what) = calls(&a.done, &b.done, gas) {
                    return Some(named(a, what));
                }
            }
            (a, b) => {
                let text = |call: Option<&Traced>| {
                    call.map_or_else(|| "none".into(), |c| format!("{}.{}", c.applet, c.handler))
                };
                return Some(named(a.or(b)?, (Field::Call, String::new(), text(a), text(b))));
            }
        }
    }
    None
}

/// The first difference between what two runs of a block wrote beside their calls: rows of the project's database.
pub(crate) fn writes(height: u64, old: &Writes, new: &Writes) -> Option<Difference> {
    let keys: BTreeSet<&Vec<u8>> = old.keys().chain(new.keys()).collect();
    let key = keys.into_iter().find(|key| old.get(*key) != new.get(*key))?;
    let what = (Field::Row, w3bstream_vfs::key::sql_row_of(key).unwrap_or_else(|| shown(key)));
    Some(Difference::of_block(height, what, value(old.get(key)), value(new.get(key))))
}

/// The first difference between the outputs that a block had and those that it has now, with the call that it belongs to.
pub(crate) fn outputs(height: u64, old: &[Output], new: &[Output]) -> Option<Difference> {
    let i = (0..old.len().max(new.len())).find(|i| old.get(*i) != new.get(*i))?;
    let result = |o: &Output| {
        (o.kind == OutputKind::Result).then(|| ResultRecord::from_canonical(&o.data).ok()).flatten()
    };
    let (before, after) = (old.get(i), new.get(i));
    let call = |list: &[Output]| list.iter().take(i + 1).rev().find_map(result);
    let call = call(old).or_else(|| call(new));
    let results = before.and_then(result).zip(after.and_then(result));
    let (field, name, was, is) = match results {
        Some((a, b))
            if (a.message, a.event, &a.applet, &a.handler) == (b.message, b.event, &b.applet, &b.handler) =>
        {
            let code = |r: &ResultRecord| r.error.clone().unwrap_or_else(|| r.code.to_string());
            if code(&a) != code(&b) {
                (Field::Code, String::new(), code(&a), code(&b))
            } else if a.gas != b.gas {
                (Field::Gas, String::new(), a.gas.to_string(), b.gas.to_string())
            } else {
                (
                    Field::Output,
                    i.to_string(),
                    format!("{} outputs", a.outputs),
                    format!("{} outputs", b.outputs),
                )
            }
        }
        _ => (Field::Output, i.to_string(), output(before), output(after)),
    };
    Some(Difference {
        height,
        message: call.as_ref().map(|c| c.message),
        applet: call.as_ref().map(|c| c.applet.clone()),
        handler: call.map(|c| c.handler),
        field,
        name,
        old: was,
        new: is,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use w3bstream_engine::GuestError;

    use super::*;

    fn mqtt(data: &[u8]) -> Output {
        Output { kind: OutputKind::Mqtt, chain_id: 0, target: b"t".to_vec(), data: data.to_vec() }
    }

    fn done() -> Done {
        let writes = BTreeMap::from([(b"a".to_vec(), Some(b"1".to_vec())), (b"b".to_vec(), None)]);
        Done { result: Ok(0), gas: 10, writes, outputs: vec![mqtt(b"x")] }
    }

    fn first(change: impl FnOnce(&mut Done)) -> (Field, String, String, String) {
        let mut new = done();
        change(&mut new);
        calls(&done(), &new, true).unwrap()
    }

    fn told(field: Field, [name, old, new]: [&str; 3]) -> (Field, String, String, String) {
        (field, name.into(), old.into(), new.into())
    }

    #[test]
    fn each_field_is_compared_and_the_gas_last() {
        assert_eq!(calls(&done(), &done(), true), None);
        let gas = |d: &mut Done| d.gas = 11;
        assert_eq!(first(gas), told(Field::Gas, ["", "10", "11"]));
        let mut other = done();
        gas(&mut other);
        assert_eq!(calls(&done(), &other, false), None, "gas that does not count");
        let trap = |d: &mut Done| (d.result, d.gas) = (Err(GuestError::Trap), 12);
        assert_eq!(first(trap), told(Field::Code, ["", "0", "trap"]));
        let more = |d: &mut Done| (d.gas, d.outputs) = (12, vec![mqtt(b"x"), mqtt(b"y")]);
        assert_eq!(first(more), told(Field::Output, ["1", "none", "mqtt t y"]));
        assert_eq!(first(|d| d.outputs.clear()), told(Field::Output, ["0", "mqtt t x", "none"]));
        let set = |d: &mut Done| drop(d.writes.insert(b"a".to_vec(), Some(b"2".to_vec())));
        assert_eq!(first(set), told(Field::Write, ["a", "1", "2"]));
        assert_eq!(
            first(|d| drop(d.writes.remove(&b"b"[..]))),
            told(Field::Write, ["b", "removed", "not written"])
        );
    }

    #[test]
    fn what_is_shown_is_short_and_readable() {
        assert_eq!(shown(b"text \xc3\xa4"), "text ä");
        assert_eq!(shown(b"a\nb"), "0x610a62");
        let long = shown(&vec![b'a'; 100_000]);
        assert!(long.ends_with("… (100000 bytes)") && long.chars().count() < SHOWN + 30, "{long}");
        assert!(shown(&vec![0; 100_000]).len() < SHOWN + 40);
    }

    #[test]
    fn an_output_that_changed_is_told_with_its_call() {
        let result = |gas| {
            let result = ResultRecord {
                message: MessageId(w3bstream_types::Digest::of(b"m")),
                applet: "a".parse().unwrap(),
                handler: "h".into(),
                program: w3bstream_types::Digest::ZERO,
                instrumented: w3bstream_types::Digest::ZERO,
                code: 0,
                error: None,
                gas,
                call: 0,
                calls: 1,
                outputs: 1,
                event: None,
            };
            Output { kind: OutputKind::Result, chain_id: 0, target: vec![], data: result.to_canonical() }
        };
        let old = [result(5), mqtt(b"x")];
        assert_eq!(outputs(3, &old, &old), None);
        let gas = outputs(3, &old, &[result(6), mqtt(b"x")]).unwrap();
        assert_eq!((gas.field, gas.old.as_str(), gas.new.as_str()), (Field::Gas, "5", "6"));
        let other = outputs(3, &old, &[result(5), mqtt(b"y")]).unwrap();
        assert_eq!(
            (other.field, other.name.as_str(), other.handler.as_deref()),
            (Field::Output, "1", Some("h"))
        );
        assert_eq!(outputs(3, &old, &old[..1]).unwrap().new, "none");
    }
}
