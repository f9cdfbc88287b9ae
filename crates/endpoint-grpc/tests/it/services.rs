//! Health and reflection, as the usual tools ask for them.

use futures_util::stream;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1, v1alpha};
use w3bstream_endpoint::Endpoint as _;

use crate::harness::{in_time, quick, start};

fn about(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.into() }
}

#[tokio::test]
async fn health_is_what_the_node_says() {
    let server = start(quick());
    let mut client = HealthClient::new(server.channel().await);
    for service in ["", "w3bstream.v1.Ingest", "w3bstream.v1.Messages"] {
        let status = in_time(client.check(about(service))).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service}");
    }
    let unknown = in_time(client.check(about("w3bstream.v1.Kitchen"))).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let mut changes = in_time(client.watch(about(""))).await.unwrap().into_inner();
    let mut strange = in_time(client.watch(about("w3bstream.v1.Kitchen"))).await.unwrap().into_inner();
    assert_eq!(in_time(changes.message()).await.unwrap().unwrap().status(), ServingStatus::Serving);
    assert_eq!(in_time(strange.message()).await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
    *server.query.unready.lock().unwrap() = Some("replaying".into());
    assert_eq!(in_time(changes.message()).await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert_eq!(
        in_time(client.check(about(""))).await.unwrap().into_inner().status(),
        ServingStatus::NotServing
    );
    *server.query.unready.lock().unwrap() = None;
    assert_eq!(in_time(changes.message()).await.unwrap().unwrap().status(), ServingStatus::Serving);
    server.endpoint.stop_intake().await;
    assert_eq!(in_time(changes.message()).await.unwrap().unwrap().status(), ServingStatus::NotServing);
    in_time(server.endpoint.close()).await.unwrap();
    assert!(in_time(changes.message()).await.unwrap().is_none());
}

#[tokio::test]
async fn the_interface_is_described() {
    use v1::server_reflection_request::MessageRequest;
    use v1::server_reflection_response::MessageResponse;
    let server = start(quick());
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(server.channel().await);
    let ask = |message| v1::ServerReflectionRequest { host: String::new(), message_request: Some(message) };
    let questions = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("w3bstream.v1.Ingest".into())),
        // For those who build envelopes.
        ask(MessageRequest::FileContainingSymbol("w3bstream.v1.Envelope".into())),
        ask(MessageRequest::FileContainingSymbol("grpc.health.v1.Health".into())),
    ];
    let asked = client.server_reflection_info(stream::iter(questions));
    let mut answers = in_time(asked).await.unwrap().into_inner();
    let listed = in_time(answers.message()).await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = listed else { panic!("{listed:?}") };
    let names: Vec<_> = list.service.iter().map(|s| s.name.as_str()).collect();
    for name in [
        "w3bstream.v1.Ingest",
        "w3bstream.v1.Messages",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
    for _ in 0..3 {
        let answer = in_time(answers.message()).await.unwrap().unwrap().message_response;
        assert!(matches!(answer, Some(MessageResponse::FileDescriptorResponse(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn older_tools_are_told_the_same() {
    use v1alpha::server_reflection_request::MessageRequest;
    let server = start(quick());
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel().await);
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol("w3bstream.v1.Messages".into())),
    };
    let mut answers =
        in_time(client.server_reflection_info(stream::iter([request]))).await.unwrap().into_inner();
    let answer = in_time(answers.message()).await.unwrap().unwrap().message_response;
    assert!(format!("{answer:?}").contains("FileDescriptorResponse"), "{answer:?}");
}
