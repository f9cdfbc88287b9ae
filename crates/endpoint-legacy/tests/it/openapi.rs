//! What the document says, and what is refused before a handler sees it.

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::stage::{Stage, block_on};

#[test]
fn every_operation_of_the_document_is_there() {
    block_on(async {
        let stage = Stage::new().await;
        let (status, document) = stage.raw("GET", "/srv-applet-mgr/v0/openapi.json", "", "").await;
        assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
        let mut operations = 0;
        for (path, methods) in document["paths"].as_object().unwrap() {
            let part = |p: &str| if p.starts_with('{') { "1".to_owned() } else { p.to_owned() };
            let filled = path.split('/').map(part).collect::<Vec<_>>().join("/");
            for (method, operation) in methods.as_object().unwrap() {
                operations += 1;
                let (status, _) = stage.raw(&method.to_uppercase(), &filled, "", "").await;
                let known = operation["responses"].as_object().unwrap().contains_key(&status.to_string());
                assert!(known && status != 405, "{method} {path}: {status}");
                let login = operation["security"] == json!([{ "login": [] }]);
                assert_eq!(login, login && status == 401, "{method} {path} without a login: {status}");
            }
        }
        assert!(operations > 40, "{operations}");
        let text = document.to_string();
        for schema in text.split("\"#/components/schemas/").skip(1).filter_map(|s| s.split('"').next()) {
            assert!(document["components"]["schemas"][schema].is_object(), "no schema {schema}");
        }
    });
}

#[test]
fn refusals_of_no_handler_are_in_the_originals_words() {
    block_on(async {
        let stage = Stage::with(|c| c.max_body_bytes = 100).await;
        let request = Request::patch("/srv-applet-mgr/v0/project").body(Body::empty()).unwrap();
        let answer = stage.router.clone().oneshot(request).await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()[header::ALLOW]),
            (405, &"POST".parse().unwrap())
        );
        let (_, body) = stage.raw("PATCH", "/srv-applet-mgr/v0/project", "", "").await;
        assert_eq!((&body["key"], &body["code"]), (&json!("MethodNotAllowed"), &json!(405_000_000)));
        let (status, body) = stage.raw("GET", "/srv-applet-mgr/v0/applet/data/%FF", &stage.session, "").await;
        assert_eq!((status, &body["key"]), (400, &json!("BadRequest")), "{body}");
        let twice = "/srv-applet-mgr/v0/project/datalist?authorization=a&authorization=b";
        let (status, body) = stage.raw("GET", twice, "", "").await;
        assert_eq!((status, &body["key"]), (400, &json!("BadRequest")), "{body}");
        let long = "x".repeat(101);
        let (status, body) =
            stage.raw("POST", "/srv-applet-mgr/v0/project", &stage.session, long.clone()).await;
        assert_eq!((status, &body["key"]), (413, &json!("TooLarge")), "{body}");
        let (status, body) = stage.raw("POST", "/message", "", long.clone()).await;
        assert!(status == 413 && body["error"].is_string(), "{status} {body}");
        // Who is nobody is told so, whatever they send.
        let (status, body) = stage.raw("POST", "/srv-applet-mgr/v0/project", "", long).await;
        assert_eq!((status, &body["key"]), (401, &json!("InvalidAuthValue")), "{body}");
        assert_eq!(stage.raw("GET", "/liveness", "", "").await, (200, json!({ "w3bstream": "ok" })));
        assert_eq!(stage.raw("GET", "/nowhere", "", "").await, (404, Value::Null));
    });
}
