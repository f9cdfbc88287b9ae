
/* Sends a message on as an event, and answers; of an event it keeps how many led to it. scripts/test-kits puts it behind an applet. */
W3B_HANDLER(bell) {
    w3b_bytes event;
    if (w3b_event(rid, &event)) return W3B_HOST;
    if (w3b_event_depth(rid) > 0) return w3b_set_i64("depth", (int64_t)w3b_event_depth(rid));
    int32_t code = w3b_send("bell", event);
    return code ? code : w3b_answer(w3b_str("sent"));
}
