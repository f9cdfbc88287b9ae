/* Logs every event: its type and its payload. The smallest applet. */
#include "w3bstream.h"

W3B_HANDLER(received) {
    w3b_bytes type, payload;
    w3b_text line = {0};
    if (w3b_event(rid, &payload) || w3b_event_type(rid, &type)) return W3B_HOST;
    w3b_put_bytes(&line, type);
    w3b_put(&line, ": ");
    w3b_put_bytes(&line, payload);
    w3b_log_bytes(W3B_INFO, w3b_done(&line));
    return W3B_OK;
}
