//! For `w3bstream-fuzzing` alone: bodies of the management routes from bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a broken promise must end the run; nothing but tests asks for this feature"
)]

use axum::body::Body;
use axum::extract::{FromRequest as _, Multipart};
use axum::http::{Request, header};
use w3bstream_types::Timestamp;

use crate::routes;
use crate::secrets::{Credential, Secrets};

/// Bodies in JSON, and what a client shows as its credential.
pub fn body(bytes: &[u8]) {
    routes::read_any(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Secrets::new([7; 32]).read(text, Timestamp(1_800_000_000_000)) {
        Credential::None => {}
        Credential::Token(token) => assert_eq!(token, text),
        Credential::Session(_) | Credential::Key(_) => panic!("{text:?} opens an account"),
    }
}

/// An upload. The first line is the content type.
pub fn upload(bytes: &[u8]) {
    let (kind, rest) = bytes.split_at(bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len()));
    let rest = rest.get(1..).unwrap_or_default();
    let request = Request::builder().header(header::CONTENT_TYPE, kind).body(Body::from(rest.to_vec()));
    let Ok(request) = request else { return };
    // Everything is there already, so nothing waits and no runtime is needed.
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be made");
    runtime.block_on(async {
        if let Ok(form) = Multipart::from_request(request, &()).await {
            routes::read_any_form(form, bytes.len()).await;
        }
    });
}
