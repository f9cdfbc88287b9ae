//! Sessions and bounds again, over every other transport: nothing of MQTT depends on what carries it.

use w3bstream_endpoint_mqtt::Transport;

use crate::support::via;
use crate::{bounds, sessions};

const TESTS: &[(&str, fn())] = &[
    (
        "bounds::a_packet_over_the_limit_is_refused_by_its_header",
        bounds::a_packet_over_the_limit_is_refused_by_its_header,
    ),
    (
        "bounds::connections_over_the_cap_are_closed_and_others_served",
        bounds::connections_over_the_cap_are_closed_and_others_served,
    ),
    ("bounds::who_does_not_connect_in_time_is_closed", bounds::who_does_not_connect_in_time_is_closed),
    (
        "bounds::keep_alive_is_enforced_and_pings_keep_alive",
        bounds::keep_alive_is_enforced_and_pings_keep_alive,
    ),
    (
        "bounds::a_packet_that_is_never_finished_ends_the_connection",
        bounds::a_packet_that_is_never_finished_ends_the_connection,
    ),
    (
        "bounds::more_than_receive_maximum_is_a_protocol_error",
        bounds::more_than_receive_maximum_is_a_protocol_error,
    ),
    ("bounds::the_budget_of_all_connections_is_shared", bounds::the_budget_of_all_connections_is_shared),
    ("bounds::large_messages_are_bounded_by_their_bytes", bounds::large_messages_are_bounded_by_their_bytes),
    (
        "bounds::a_slow_subscriber_loses_qos_0_and_is_disconnected_at_qos_1",
        bounds::a_slow_subscriber_loses_qos_0_and_is_disconnected_at_qos_1,
    ),
    (
        "bounds::a_subscriber_that_reads_nothing_costs_a_bounded_queue",
        bounds::a_subscriber_that_reads_nothing_costs_a_bounded_queue,
    ),
    ("bounds::subscriptions_are_bounded", bounds::subscriptions_are_bounded),
    ("bounds::sessions_are_bounded", bounds::sessions_are_bounded),
    ("bounds::a_hundred_connections_are_served_together", bounds::a_hundred_connections_are_served_together),
    ("sessions::subscribers_get_what_the_node_publishes", sessions::subscribers_get_what_the_node_publishes),
    (
        "sessions::the_idempotency_key_comes_as_a_user_property",
        sessions::the_idempotency_key_comes_as_a_user_property,
    ),
    (
        "sessions::a_resumed_session_gets_what_it_missed_and_what_it_did_not_acknowledge",
        sessions::a_resumed_session_gets_what_it_missed_and_what_it_did_not_acknowledge,
    ),
    (
        "sessions::a_second_connection_takes_the_client_id_over",
        sessions::a_second_connection_takes_the_client_id_over,
    ),
    ("sessions::an_empty_client_id_is_assigned_one", sessions::an_empty_client_id_is_assigned_one),
    ("sessions::the_connack_says_what_is_not_spoken", sessions::the_connack_says_what_is_not_spoken),
    (
        "sessions::a_will_is_submitted_when_the_device_goes_without_a_word",
        sessions::a_will_is_submitted_when_the_device_goes_without_a_word,
    ),
];

fn all(transport: Transport) {
    for (name, test) in TESTS {
        // Shown if the test fails.
        eprintln!("{name} over {transport:?}");
        via(transport, test);
    }
}

#[test]
fn over_tls() {
    all(Transport::Tls);
}

#[test]
fn over_web_socket() {
    all(Transport::WebSocket);
}

#[test]
fn over_web_socket_over_tls() {
    all(Transport::WebSocketTls);
}
