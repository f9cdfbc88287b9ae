//! What the node is asked for.

use serde_json::{Value, json};
use w3bstream_endpoint_legacy::FaultKind;

use crate::stage::{Stage, block_on};

#[test]
fn sessions_end_and_passwords_count() {
    block_on(async {
        let stage = Stage::new().await;
        let list = || stage.raw("GET", "/srv-applet-mgr/v0/project/datalist", &stage.session, "");
        assert_eq!(list().await.0, 200);
        let path = format!("/srv-applet-mgr/v0/project/datalist?authorization={}", stage.session);
        assert_eq!(stage.raw("GET", &path, "", "").await.0, 200, "a token may stand in the query");
        stage.clock.advance(60 * 60 * 1000);
        assert_eq!(list().await.0, 401);
        for (name, password) in [("admin", "Secret"), ("nobody", "secret"), ("admin", "")] {
            let (status, body) = stage.login(name, password).await;
            assert_eq!((status, &body["key"]), (401, &json!("InvalidPassword")));
        }
        assert_eq!(stage.raw("PUT", "/srv-applet-mgr/v0/login", "", "{}").await.0, 400);
        assert_eq!(stage.raw("GET", "/liveness", "", "").await.0, 200);
    });
}

#[test]
fn an_applet_runs_once_it_is_deployed() {
    block_on(async {
        let stage = Stage::new().await;
        stage
            .v0("POST", "project", json!({ "name": "My_P", "envs": {"env": [["B", "2"], ["A", "1"]]} }), 201)
            .await;
        assert!(stage.last_plan().new && stage.last_plan().open);
        assert_eq!(
            stage.last_plan().env,
            [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())]
        );
        let before = stage.node.plans.lock().unwrap().len();
        let made = stage.upload("aid_1_My_P", json!({ "appletName": "Log" }), 201).await;
        assert_eq!(
            (&made["strategies"][0]["eventType"], &made["strategies"][0]["handler"]),
            (&json!("DEFAULT"), &json!("start"))
        );
        assert_eq!((&made["instance"]["state"], &made["wasmName"]), (&json!("CREATED"), &json!("log.wasm")));
        assert_eq!(stage.node.plans.lock().unwrap().len(), before, "what does not run is not deployed");
        let id = made["appletID"].as_str().unwrap().to_owned();
        stage.v0("POST", &format!("deploy/applet/{id}"), Value::Null, 201).await;
        let plan = stage.last_plan();
        assert_eq!((plan.project.as_str(), plan.applets[0].name.as_str()), ("my-p", "log"));
        assert_eq!(plan.applets[0].routes[0].event_type.as_str(), "default");
        stage.upload("My_P", json!({ "appletName": "LOG" }), 409).await;
        stage.upload("My_P", json!({ "appletName": "other", "wasmMd5": "00" }), 400).await;
        stage.upload("My_P", json!({ "appletName": "started", "start": "true" }), 201).await;
        assert_eq!(stage.last_plan().applets.len(), 2);
        stage.v0("DELETE", &format!("applet/data/{id}"), Value::Null, 204).await;
        assert_eq!(stage.last_plan().applets.len(), 1);
        stage.v0("GET", &format!("applet/data/{id}"), Value::Null, 404).await;
    });
}

#[test]
fn a_deployment_that_is_refused_changes_nothing() {
    block_on(async {
        let stage = Stage::new().await;
        for (kind, status) in
            [(FaultKind::Refused, 400), (FaultKind::Taken, 409), (FaultKind::Unavailable, 503)]
        {
            *stage.node.refuse.lock().unwrap() = Some(kind);
            stage.v0("POST", "project", json!({ "name": "p" }), status).await;
        }
        stage.v0("GET", "project/x/p/data", Value::Null, 404).await;
        stage.project().await;
        *stage.node.refuse.lock().unwrap() = Some(FaultKind::Refused);
        stage.v0("POST", "project_config/x/p/PROJECT_ENV", json!({ "env": [["K", "1"]] }), 400).await;
        assert_eq!(
            stage.v0("GET", "project_config/x/p/PROJECT_ENV", Value::Null, 200).await,
            json!({ "env": [] })
        );
    });
}

#[test]
fn a_database_is_checked_kept_and_given_back() {
    block_on(async {
        let stage = Stage::new().await;
        stage.project().await;
        stage.v0("GET", "project_config/x/p/PROJECT_DATABASE", Value::Null, 404).await;
        let table = |datatype: &str, key: &str| {
            json!({ "schemas": [{ "schema": "public", "tables": [{ "name": "t", "desc": "",
                "cols": [{ "name": "c", "constrains": { "datatype": datatype, "length": 5 } }],
                "keys": [{ "name": "k", "isUnique": true, "columnNames": [key] }] }] }] })
        };
        let path = "project_config/x/p/PROJECT_DATABASE";
        for wrong in [
            table("VARCHAR", "c"),
            table("INT64", "d"),
            json!({}),
            json!({ "schemas": [{ "tables": [{ "name": "t", "cols": [] }] }] }),
        ] {
            stage.v0("POST", path, wrong, 400).await;
        }
        let right = table("INT64", "c");
        stage.v0("POST", path, right.clone(), 201).await;
        assert_eq!(stage.v0("GET", path, Value::Null, 200).await, right);
        stage.v0("POST", "project_config/x/p/PROJECT_FLOW", json!({}), 400).await;
    });
}

#[test]
fn a_cron_job_is_a_trigger_of_the_plan_until_it_is_taken_away() {
    block_on(async {
        let stage = Stage::new().await;
        stage.project().await;
        let job = json!({ "cronExpressions": "*/5 * * * *", "eventType": "Tick" });
        let made = stage.v0("POST", "cronjob/p", job.clone(), 201).await;
        assert_eq!((&made["eventType"], &made["cronExpressions"]), (&json!("Tick"), &json!("*/5 * * * *")));
        let id = made["cronJobID"].as_str().unwrap().to_owned();
        let triggers = stage.last_plan().triggers;
        assert_eq!(triggers.len(), 1);
        assert_eq!(triggers[0].name.as_str(), format!("legacy-cron-{id}"));
        assert_eq!((triggers[0].event_type.as_str(), triggers[0].kind()), ("tick", "cron"));
        stage.v0("POST", "cronjob/p", job, 409).await;
        // Another spelling of one event type, and what is no cron job.
        for wrong in [json!({ "cronExpressions": "0 * * * *", "eventType": "TICK" }), json!({}), json!([])] {
            stage.v0("POST", "cronjob/p", wrong, 400).await;
        }
        // By the project's number, and for events of the default type.
        let project = made["projectID"].as_str().unwrap();
        stage.v0("POST", &format!("cronjob/{project}"), json!({ "cronExpressions": "0 * * * *" }), 201).await;
        let all = stage.v0("GET", "cronjob/p", Value::Null, 200).await;
        assert_eq!((&all["total"], &all["data"][1]["eventType"]), (&json!(2), &json!("DEFAULT")));
        stage.v0("DELETE", &format!("cronjob/data/{id}"), Value::Null, 204).await;
        stage.v0("DELETE", &format!("cronjob/data/{id}"), Value::Null, 404).await;
        assert_eq!(stage.last_plan().triggers.len(), 1);
        *stage.node.refuse.lock().unwrap() = Some(FaultKind::Refused);
        stage.v0("POST", "cronjob/p", json!({ "cronExpressions": "often" }), 400).await;
        assert_eq!(stage.v0("GET", "cronjob/p", Value::Null, 200).await["total"], 1);
    });
}

#[test]
fn a_list_of_an_objects_members_is_no_object() {
    block_on(async {
        let stage = Stage::new().await;
        stage.v0("POST", "project", json!(["p"]), 400).await;
        stage.v0("POST", "project", json!({ "name": "p", "envs": [[]] }), 400).await;
        let database = json!({ "schemas": [[[{ "name": "t", "cols": [["c", ["INT64"]]] }]]] });
        stage.v0("POST", "project", json!({ "name": "p", "database": database }), 400).await;
        stage.project().await;
        stage.v0("POST", "project_config/x/p/PROJECT_ENV", json!([]), 400).await;
        stage.upload("p", json!({ "strategies": [["DEFAULT", "start"]] }), 400).await;
    });
}

#[test]
fn publishers_have_tokens_that_end_with_them() {
    block_on(async {
        let stage = Stage::new().await;
        let token = stage.project().await;
        stage.v0("POST", "publisher/x/p", json!({ "name": "d", "key": "D_1" }), 409).await;
        stage.v0("POST", "publisher/x/p", json!({ "name": "d", "key": "a/b" }), 400).await;
        let same =
            stage.v0("POST", "publisher/x/p/upsert", json!({ "name": "new", "key": "D_1" }), 201).await;
        assert_eq!((&same["token"], &same["name"]), (&json!(token), &json!("new")));
        let id = same["publisherID"].as_str().unwrap();
        stage.v0("PUT", &format!("publisher/x/p/{id}"), json!({ "name": "newer" }), 204).await;
        assert_eq!(stage.v0("GET", &format!("publisher/data/{id}"), Value::Null, 200).await["name"], "newer");
        assert_eq!(stage.v0("GET", "publisher/x/p", Value::Null, 200).await["total"], 1);
        stage.v0("DELETE", &format!("publisher/x/p?publisherID={id}"), Value::Null, 204).await;
        assert!(stage.node.tokens.lock().unwrap().is_empty());
        let again = stage.v0("POST", "publisher/x/p", json!({ "name": "d", "key": "D_1" }), 201).await;
        assert_ne!(again["token"], json!(token), "an old token never works again");
    });
}
