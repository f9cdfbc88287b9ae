/* Keeps readings in the project's database, and reports on a device when asked.
 *
 * store:  {"device":"d1","value":21} becomes a row of the table `readings`.
 * report: {"device":"d1"} is answered on the topic `reports/d1` with {"high":…,"low":…,"n":…}.
 */
#include "w3bstream.h"

W3B_HANDLER(store) {
    w3b_bytes event, device;
    int64_t value;
    if (w3b_event(rid, &event)) return W3B_HOST;
    if (w3b_json_text(event, "device", &device)) return w3b_fail(W3B_JSON, "device must be a text");
    if (w3b_json_i64(event, "value", &value)) return w3b_fail(W3B_JSON, "value must be a whole number");
    w3b_sql insert = w3b_statement("INSERT INTO readings (device, value) VALUES (?, ?)");
    w3b_param_text(&insert, device);
    w3b_param_i64(&insert, value);
    return w3b_execute(&insert);
}

W3B_HANDLER(report) {
    w3b_bytes event, device, row;
    if (w3b_event(rid, &event)) return W3B_HOST;
    if (w3b_json_text(event, "device", &device)) return w3b_fail(W3B_JSON, "device must be a text");
    w3b_sql query =
        w3b_statement("SELECT count(*) AS n, min(value) AS low, max(value) AS high FROM readings WHERE device = ?");
    w3b_param_text(&query, device);
    if (w3b_query(&query, &row)) return W3B_HOST;
    w3b_text topic = {0};
    w3b_put(&topic, "reports/");
    w3b_put_bytes(&topic, device);
    return w3b_publish(w3b_done(&topic), row);
}
