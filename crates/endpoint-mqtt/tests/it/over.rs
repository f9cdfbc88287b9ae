//! Sessions and bounds again, over every other transport: nothing of MQTT depends on what carries it.

macro_rules! over {
    ($name:ident, $transport:ident, $($module:ident: $($test:ident)+;)+) => {
        mod $name {
            $($(
                #[test]
                fn $test() {
                    let transport = w3bstream_endpoint_mqtt::Transport::$transport;
                    crate::support::via(transport, crate::$module::$test);
                }
            )+)+
        }
    };
}

macro_rules! over_all {
    ($($tests:tt)+) => {
        over!(tls, Tls, $($tests)+);
        over!(web_socket, WebSocket, $($tests)+);
        over!(web_socket_over_tls, WebSocketTls, $($tests)+);
    };
}

over_all! {
    bounds:
        who_does_not_connect_in_time_is_closed
        the_budget_of_all_connections_is_shared
        large_messages_are_bounded_by_their_bytes
        subscriptions_are_bounded
        sessions_are_bounded
        a_hundred_connections_are_served_together
    ;
    sessions:
        subscribers_get_what_the_node_publishes
        an_empty_client_id_is_assigned_one
        the_connack_says_what_is_spoken
    ;
}
