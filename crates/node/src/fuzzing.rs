//! For `w3bstream-fuzzing` alone: settings, manifests and calls from bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a broken promise must end the run; nothing but tests asks for this feature"
)]

use axum::Router;
use axum::body::Bytes;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use w3bstream_types::Did;
use w3bstream_types::receipt::Anchors;

use crate::{Circuit, Config, ManifestFile};

/// `node.toml`, the file of MQTT's users, and anchors. What was read is written and is the same then.
pub fn settings(text: &str) {
    match Config::parse(text, "node.toml", std::iter::empty()) {
        Ok(config) => {
            let again = toml::to_string(&config).expect("settings can be written");
            let again = Config::parse(&again, "node.toml", std::iter::empty()).expect("and read again");
            assert_eq!(toml::to_string(&again).ok(), toml::to_string(&config).ok());
        }
        Err(error) => assert!(error.to_string().len() < 4 * text.len() + 10_000),
    }
    crate::gate::read_any_users(text);
    let _ = toml::from_str::<Anchors>(text).map_err(|e| crate::config::explain(&e, text, "anchors.toml"));
}

/// A project's manifest: what becomes of it has one encoding, which is read again.
pub fn manifest(text: &str) {
    use w3bstream_types::Canonical as _;
    let Ok(file) = ManifestFile::parse(text, "w3bstream.toml") else { return };
    let owner: Did = "did:web:example.org".parse().expect("a DID");
    let modules = vec![b"module".to_vec(); file.applets.len()];
    let proven = file.settlements.iter().filter(|s| s.proof.is_some()).count();
    let circuits = vec![Circuit { witness: b"w".to_vec(), key: b"k".to_vec() }; proven];
    let Ok(loaded) = file.with_files(&owner, modules, circuits) else { return };
    let bytes = loaded.manifest.to_canonical();
    let again =
        w3bstream_types::Manifest::from_canonical(&bytes).expect("a manifest that is allowed can be read");
    assert_eq!(again, loaded.manifest, "the manifest is another one when it was ordered");
    assert!(again.check().is_ok());
}

/// A body of `POST /rpc`. Routes that take anything stand behind it.
pub fn rpc(bytes: &[u8]) {
    let routes = Router::new().fallback(|| async { axum::Json(json!({ "detail": "yes" })) });
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be made");
    let (status, body) = runtime.block_on(async {
        let response = crate::rpc::answer(routes, Bytes::copy_from_slice(bytes)).await;
        let status = response.status();
        (status, response.into_body().collect().await.expect("it is all there").to_bytes())
    });
    assert!(status.is_success());
    if body.is_empty() {
        return;
    }
    let answer: Value = serde_json::from_slice(&body).expect("answers are JSON");
    let all = match answer {
        Value::Array(all) => all,
        one => vec![one],
    };
    for one in all {
        assert_eq!(one["jsonrpc"], "2.0");
        assert!(one.get("result").is_some() != one.get("error").is_some(), "a result or an error: {one}");
        assert!(one.get("id").is_some_and(|id| !id.is_array() && !id.is_object()));
    }
}
