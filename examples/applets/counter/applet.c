/* Counts events: all of them under the key `count`, those of a type under `count/<type>`. */
#include "w3bstream.h"

static int32_t one_more(w3b_bytes key) { return w3b_set_i64_of(key, w3b_get_i64_of(key, 0) + 1); }

W3B_HANDLER(count) {
    w3b_bytes type;
    w3b_text key = {0};
    if (w3b_event_type(rid, &type)) return W3B_HOST;
    w3b_put(&key, "count/");
    w3b_put_bytes(&key, type);
    int32_t code = one_more(w3b_str("count"));
    return code ? code : one_more(w3b_done(&key));
}
