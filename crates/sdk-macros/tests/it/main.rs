//! What the compiler says of handlers that are none. A package is written for each, and cargo checks it: only so the errors are
//! those that an author sees.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

/// Checks a file of each name with each text, and gives what the compiler said.
fn check(folder: &str, sources: &[(&str, &str)]) -> (bool, String) {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    drop(fs::remove_dir_all(dir.join("src")));
    fs::create_dir_all(dir.join("src/bin")).unwrap();
    // Tests run in their package's folder.
    let sdk = fs::canonicalize("../sdk").unwrap();
    let manifest = format!(
        "[package]\nname = \"shapes\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\nw3bstream-sdk = {{ path = {:?} }}\n",
        sdk.display().to_string()
    );
    fs::write(dir.join("Cargo.toml"), manifest).unwrap();
    for (name, text) in sources {
        let text = format!(
            "#![allow(unused)]\nuse w3bstream_sdk::{{Error, Event, handler}};\n{text}\nfn main() {{}}\n"
        );
        fs::write(dir.join("src/bin").join(format!("{name}.rs")), text).unwrap();
    }
    #[allow(clippy::disallowed_methods, reason = "cargo names itself to the tests that it runs")]
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["check", "--offline", "--quiet", "--bins", "--keep-going", "--target-dir"])
        .arg(dir.join("target"))
        .current_dir(&dir)
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Name, source, and the words that the compiler must say.
const WRONG: [(&str, &str, &str); 12] = [
    (
        "no_parameter",
        "#[handler]\nfn f() -> Result<(), Error> { Ok(()) }",
        "takes the event, as its only parameter",
    ),
    ("two", "#[handler]\nfn f(a: Event, b: Event) -> Result<(), Error> { Ok(()) }", "takes one parameter"),
    ("nothing_back", "#[handler]\nfn f(a: Event) {}", "`f` returns nothing"),
    ("generic", "#[handler]\nfn f<T>(a: T) -> Result<(), Error> { Ok(()) }", "no generic parameters"),
    ("waits", "#[handler]\nasync fn f(a: Event) -> Result<(), Error> { Ok(()) }", "cannot be async"),
    ("foreign", "#[handler]\nextern \"C\" fn f(a: i32) -> i32 { 0 }", "cannot be `extern`"),
    (
        "method",
        "struct S;\nimpl S {\n#[handler]\nfn f(self) -> Result<(), Error> { Ok(()) }\n}",
        "is no method",
    ),
    ("type_item", "#[handler]\nstruct S;", "this is no function"),
    (
        "name",
        "#[handler(default)]\nfn f(a: Event) -> Result<(), Error> { Ok(()) }",
        "name of the export as a text",
    ),
    ("number", "#[handler]\nfn f(a: Event) -> i32 { 0 }", "expected `Result<_, _>`, found `i32`"),
    (
        "other_event",
        "#[handler]\nfn f(a: u8) -> Result<(), Error> { Ok(()) }",
        "`u8` cannot be made of an event",
    ),
    ("other_reply", "#[handler]\nfn f(a: Event) -> Result<u8, Error> { Ok(1) }", "`u8` is no answer"),
];

#[test]
fn an_error_names_what_a_handler_looks_like() {
    let sources: Vec<(&str, &str)> = WRONG.iter().map(|(name, text, _)| (*name, *text)).collect();
    let (fine, said) = check("wrong", &sources);
    assert!(!fine);
    for (name, _, words) in WRONG {
        assert!(said.contains(words), "{name}: {words:?} is not in\n{said}");
        // One that compiled after all would not be named.
        assert!(said.contains(&format!("src/bin/{name}.rs")), "{name} is no error:\n{said}");
    }
    assert!(said.contains("a handler is `fn name(event: Event) -> Result<(), Error>`"), "{said}");
}

#[test]
fn handlers_of_every_allowed_shape_compile() {
    let right = r#"
use std::collections::BTreeMap;
use w3bstream_sdk::FromEvent;

/// Documented, public, and of its own error.
#[handler]
pub fn plain(event: Event) -> Result<(), &'static str> { Err("no") }

#[handler("default")]
pub(crate) fn named(payload: Vec<u8>) -> Result<Vec<u8>, Error> { Ok(payload) }

#[handler]
#[inline]
fn r#type(text: String,) -> Result<String, String> { Ok(text) }

struct Pairs(BTreeMap<u8, u8>);
impl FromEvent for Pairs {
    fn from_event(_: Event) -> Result<Self, Error> { Ok(Self(BTreeMap::new())) }
}
type Function = fn(u8) -> u8;

#[handler]
fn own(_pairs: Pairs) -> Result<&'static str, Error> { Ok("fine") }
"#;
    let (fine, said) = check("right", &[("right", right)]);
    assert!(fine, "{said}");
}
