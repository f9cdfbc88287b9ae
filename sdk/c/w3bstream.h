/* Guest kit for applets in C: the functions that a node gives to a module, and what an applet mostly needs around them.
 *
 * One header, no library. An applet is a set of handlers:
 *
 *     #include "w3bstream.h"
 *
 *     W3B_HANDLER(count) {
 *         w3b_bytes event;
 *         if (w3b_event(rid, &event)) return W3B_HOST;
 *         return w3b_set_i64("count", w3b_get_i64("count", 0) + 1);
 *     }
 *
 * Built for WebAssembly with any clang that knows the target:
 *
 *     zig cc -target wasm32-freestanding -mcpu=mvp+bulk_memory -Os -nostdlib -Wl,--no-entry -o applet.wasm applet.c
 *     clang --target=wasm32 -mbulk-memory -Os -nostdlib -Wl,--no-entry -o applet.wasm applet.c
 *
 * Built natively, the host's functions come from w3bstream_mock.h, so handlers are tested as any C is.
 *
 * Every call runs in a fresh instance: nothing is freed, and statics never outlive a call. There is no clock, no
 * randomness, no file and no network. Prefer whole numbers to floating point. Check first, write last: what a handler
 * wrote before it returned an error stays; what it wrote before it trapped does not.
 */
#ifndef W3BSTREAM_H
#define W3BSTREAM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __wasm__
#define W3B_FROM(module, name) __attribute__((import_module(module), import_name(name)))
#define W3B_EXPORT(name) __attribute__((export_name(name)))
#else
#define W3B_FROM(module, name)
#define W3B_EXPORT(name)
#endif

/* Not every applet uses every helper. */
#define W3B_FN static __attribute__((unused))

/* Exports a handler: a function of the event's number, `rid`, that gives 0 or a code of its own. */
#define W3B_HANDLER(name)                                                                                              \
    W3B_EXPORT(#name) int32_t name(int32_t rid);                                                                       \
    int32_t name(int32_t rid)

/* Codes of handlers; those of an applet itself are positive. */
enum {
    W3B_OK = 0,
    W3B_GENERAL = 1, /* something is wrong that has no code of its own */
    W3B_HOST = -1,   /* the host refused a call */
    W3B_JSON = -2,   /* the payload is not the JSON that was expected */
    W3B_DEPTH = -11, /* an event was not sent: as many led here as may follow from each other */
    W3B_EVENTS = -12 /* an event was not sent: the message has caused as many as it may */
};

/* Levels of the log. */
enum { W3B_ERROR = 2, W3B_WARN = 3, W3B_INFO = 4, W3B_DEBUG = 5, W3B_TRACE = 6 };

/* ---- The functions of the host. `at` and `size` are where the host stores what it answers. ---- */

W3B_FROM("env", "ws_log") int32_t ws_log(int32_t level, const void *text, size_t size);
W3B_FROM("env", "ws_get_data") int32_t ws_get_data(int32_t rid, void **at, size_t *size);
W3B_FROM("env", "ws_set_data") int32_t ws_set_data(int32_t rid, const void *data, size_t size);
W3B_FROM("env", "ws_get_event_type") int32_t ws_get_event_type(int32_t rid, void **at, size_t *size);
W3B_FROM("env", "ws_get_db") int32_t ws_get_db(const void *key, size_t key_size, void **at, size_t *size);
W3B_FROM("env", "ws_set_db")
int32_t ws_set_db(const void *key, size_t key_size, const void *value, size_t value_size);
W3B_FROM("env", "ws_get_env") int32_t ws_get_env(const void *name, size_t name_size, void **at, size_t *size);
W3B_FROM("env", "ws_set_sql_db") int32_t ws_set_sql_db(const void *json, size_t json_size);
W3B_FROM("env", "ws_get_sql_db") int32_t ws_get_sql_db(const void *json, size_t json_size, void **at, size_t *size);
W3B_FROM("env", "ws_send_mqtt_msg")
int32_t ws_send_mqtt_msg(const void *topic, size_t topic_size, const void *payload, size_t payload_size);
W3B_FROM("env", "ws_get_context") int32_t ws_get_context(int32_t rid, int32_t item, void **at, size_t *size);
W3B_FROM("env", "ws_settle")
int32_t ws_settle(const void *name, size_t name_size, const void *statement, size_t statement_size);
W3B_FROM("env", "ws_call_contract")
int32_t ws_call_contract(int32_t chain, const void *json, size_t json_size, void **at, size_t *size);
W3B_FROM("env", "ws_send_tx")
int32_t ws_send_tx(int32_t chain, const void *json, size_t json_size, void **at, size_t *size);
W3B_FROM("env", "ws_send_tx_with_operator")
int32_t ws_send_tx_with_operator(int32_t chain, const void *json, size_t json_size, void **at, size_t *size);
W3B_FROM("env", "ws_api_call") int32_t ws_api_call(const void *json, size_t json_size, void **at, size_t *size);
W3B_FROM("env", "ws_get_mqtt_msg")
int32_t ws_get_mqtt_msg(int32_t rid, void **topic, size_t *topic_size, void **payload, size_t *payload_size);
W3B_FROM("env", "ws_send_event")
int32_t ws_send_event(const void *type, size_t type_size, const void *payload, size_t payload_size);
W3B_FROM("env", "ws_send_answer") int32_t ws_send_answer(const void *answer, size_t size);
W3B_FROM("stat", "ws_submit_metrics") int32_t ws_submit_metrics(const void *json, size_t json_size);

/* ---- Memory. ---- */

#ifdef __wasm__
extern unsigned char __heap_base;
/* One for all files of a module. */
__attribute__((weak)) uintptr_t w3b_heap_at;

/* `size` bytes that are not cleared, at an address that 8 divides. Traps if the memory is used up. */
W3B_FN void *w3b_alloc(size_t size) {
    if (!w3b_heap_at) w3b_heap_at = (uintptr_t)&__heap_base;
    uintptr_t at = (w3b_heap_at + 7) & ~(uintptr_t)7, end = at + size;
    if (end < at) __builtin_trap();
    size_t pages = __builtin_wasm_memory_size(0), wanted = (end >> 16) + ((end & 0xffff) != 0);
    if (wanted > pages && __builtin_wasm_memory_grow(0, wanted - pages) == (size_t)-1) __builtin_trap();
    w3b_heap_at = end;
    return (void *)at;
}

/* The host puts its answers where this points. */
W3B_EXPORT("alloc") __attribute__((weak)) void *w3b_alloc_for_host(size_t size) { return w3b_alloc(size); }
#else
#include <stdlib.h>
W3B_FN void *w3b_alloc(size_t size) {
    void *at = malloc(size ? size : 1);
    if (!at) abort();
    return at;
}
#endif

/* Bytes somewhere. They need not end with 0. */
typedef struct {
    const char *at;
    size_t size;
} w3b_bytes;

W3B_FN size_t w3b_length(const char *text) {
    size_t n = 0;
    while (text[n]) n++;
    return n;
}

/* The bytes of a text that ends with 0. */
W3B_FN w3b_bytes w3b_str(const char *text) { return (w3b_bytes){text, w3b_length(text)}; }

W3B_FN int w3b_same(w3b_bytes a, w3b_bytes b) {
    if (a.size != b.size) return 0;
    for (size_t i = 0; i < a.size; i++)
        if (a.at[i] != b.at[i]) return 0;
    return 1;
}

/* A text that grows. Begin with {0}. */
typedef struct {
    char *at;
    size_t size, room;
} w3b_text;

W3B_FN void w3b_put_bytes(w3b_text *text, w3b_bytes more) {
    if (more.size > text->room - text->size) {
        size_t room = (text->size + more.size) * 2 + 64;
        char *at = w3b_alloc(room);
        for (size_t i = 0; i < text->size; i++) at[i] = text->at[i];
        text->at = at;
        text->room = room;
    }
    for (size_t i = 0; i < more.size; i++) text->at[text->size++] = more.at[i];
}

W3B_FN void w3b_put(w3b_text *text, const char *more) { w3b_put_bytes(text, w3b_str(more)); }

W3B_FN void w3b_put_i64(w3b_text *text, int64_t value) {
    char digits[20];
    size_t n = sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do digits[--n] = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0) w3b_put(text, "-");
    w3b_put_bytes(text, (w3b_bytes){digits + n, sizeof digits - n});
}

/* Adds a JSON text: quoted, with escapes. */
W3B_FN void w3b_put_json(w3b_text *text, w3b_bytes value) {
    static const char hex[] = "0123456789abcdef";
    w3b_put(text, "\"");
    for (size_t i = 0; i < value.size; i++) {
        unsigned char c = (unsigned char)value.at[i];
        if (c == '"' || c == '\\') {
            char two[] = {'\\', (char)c};
            w3b_put_bytes(text, (w3b_bytes){two, 2});
        } else if (c < 0x20) {
            char six[] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
            w3b_put_bytes(text, (w3b_bytes){six, 6});
        } else {
            w3b_put_bytes(text, (w3b_bytes){value.at + i, 1});
        }
    }
    w3b_put(text, "\"");
}

W3B_FN w3b_bytes w3b_done(const w3b_text *text) { return (w3b_bytes){text->at, text->size}; }

/* Reads a whole number in decimal. Gives 0, or 1 if it is none of 64 bits. */
W3B_FN int w3b_parse_i64(w3b_bytes text, int64_t *value) {
    size_t i = 0;
    int negative = text.size && text.at[0] == '-';
    if (negative) i++;
    if (i == text.size || text.size - i > 19) return 1;
    uint64_t sum = 0;
    for (; i < text.size; i++) {
        if (text.at[i] < '0' || text.at[i] > '9') return 1;
        sum = sum * 10 + (uint64_t)(text.at[i] - '0'); /* 19 digits fit into 64 bits */
    }
    if (sum > (uint64_t)INT64_MAX + (uint64_t)negative) return 1;
    *value = negative ? (int64_t)(0 - sum) : (int64_t)sum;
    return 0;
}

/* ---- The event. ---- */

/* The payload of the event, as it was sent. Gives 0 or the host's code. */
W3B_FN int32_t w3b_event(int32_t rid, w3b_bytes *payload) {
    void *at = 0;
    size_t size = 0;
    int32_t code = ws_get_data(rid, &at, &size);
    *payload = (w3b_bytes){at, size};
    return code;
}

/* The event's type. */
W3B_FN int32_t w3b_event_type(int32_t rid, w3b_bytes *type) {
    void *at = 0;
    size_t size = 0;
    int32_t code = ws_get_event_type(rid, &at, &size);
    *type = (w3b_bytes){at, size};
    return code;
}

/* The DID of the device that signed; 2 if none did (a token's event, a trigger's). */
W3B_FN int32_t w3b_event_device(int32_t rid, w3b_bytes *did) {
    void *at = 0;
    size_t size = 0;
    int32_t code = ws_get_context(rid, 2, &at, &size);
    *did = (w3b_bytes){at, size};
    return code;
}

/* A number of eight bytes that the host knows of the event; 0 if it knows none. */
W3B_FN uint64_t w3b_event_number(int32_t rid, int32_t item) {
    void *at = 0;
    size_t size = 0;
    uint64_t number = 0;
    if (ws_get_context(rid, item, &at, &size) || size != 8) return 0;
    for (size_t i = 0; i < 8; i++) number = number << 8 | ((const unsigned char *)at)[i];
    return number;
}

/* The time that the sender gave, in milliseconds since the epoch; 0 if it gave none. */
W3B_FN uint64_t w3b_event_time(int32_t rid) { return w3b_event_number(rid, 5); }

/* How many events of handlers lead from the message to this event; 0 for a message itself. */
W3B_FN uint64_t w3b_event_depth(int32_t rid) { return w3b_event_number(rid, 6); }

/* Sends an event to the handlers of the project that its type is routed to. Gives 0, W3B_DEPTH, W3B_EVENTS or W3B_HOST. */
W3B_FN int32_t w3b_send(const char *type, w3b_bytes payload) {
    switch (ws_send_event(type, w3b_length(type), payload.at, payload.size)) {
    case 0: return W3B_OK;
    case 11: return W3B_DEPTH;
    case 12: return W3B_EVENTS;
    default: return W3B_HOST;
    }
}

/* Answers who waits for the message's results, once per call. */
W3B_FN int32_t w3b_answer(w3b_bytes answer) {
    return ws_send_answer(answer.at, answer.size) ? W3B_HOST : W3B_OK;
}

/* ---- State, settings, log, messages, SQL. ---- */

/* The value of a key: 0, or 2 if there is none. */
W3B_FN int32_t w3b_get_bytes(w3b_bytes key, w3b_bytes *value) {
    void *at = 0;
    size_t size = 0;
    int32_t code = ws_get_db(key.at, key.size, &at, &size);
    *value = (w3b_bytes){at, size};
    return code;
}

W3B_FN int32_t w3b_get(const char *key, w3b_bytes *value) { return w3b_get_bytes(w3b_str(key), value); }

/* Sets a key. Gives 0, or W3B_HOST if the host refuses. */
W3B_FN int32_t w3b_set_bytes(w3b_bytes key, w3b_bytes value) {
    return ws_set_db(key.at, key.size, value.at, value.size) ? W3B_HOST : W3B_OK;
}

W3B_FN int32_t w3b_set(const char *key, w3b_bytes value) { return w3b_set_bytes(w3b_str(key), value); }

/* The value of a key that holds a whole number in decimal, or `otherwise` if it holds none. */
W3B_FN int64_t w3b_get_i64_of(w3b_bytes key, int64_t otherwise) {
    w3b_bytes value;
    int64_t number;
    if (w3b_get_bytes(key, &value) || w3b_parse_i64(value, &number)) return otherwise;
    return number;
}

W3B_FN int64_t w3b_get_i64(const char *key, int64_t otherwise) { return w3b_get_i64_of(w3b_str(key), otherwise); }

W3B_FN int32_t w3b_set_i64_of(w3b_bytes key, int64_t value) {
    w3b_text text = {0};
    w3b_put_i64(&text, value);
    return w3b_set_bytes(key, w3b_done(&text));
}

W3B_FN int32_t w3b_set_i64(const char *key, int64_t value) { return w3b_set_i64_of(w3b_str(key), value); }

/* A setting of the manifest: 0, or 8 if there is none. */
W3B_FN int32_t w3b_env(const char *name, w3b_bytes *value) {
    void *at = 0;
    size_t size = 0;
    int32_t code = ws_get_env(name, w3b_length(name), &at, &size);
    *value = (w3b_bytes){at, size};
    return code;
}

W3B_FN void w3b_log_bytes(int32_t level, w3b_bytes line) { ws_log(level, line.at, line.size); }

W3B_FN void w3b_log(int32_t level, const char *line) { w3b_log_bytes(level, w3b_str(line)); }

/* Logs why a handler fails, and gives its code: `return w3b_fail(3, "no such door");`. */
W3B_FN int32_t w3b_fail(int32_t code, const char *why) {
    w3b_log(W3B_ERROR, why);
    return code;
}

/* Asks for an MQTT message, which a node publishes once the block is agreed on. */
W3B_FN int32_t w3b_publish(w3b_bytes topic, w3b_bytes payload) {
    return ws_send_mqtt_msg(topic.at, topic.size, payload.at, payload.size) ? W3B_HOST : W3B_OK;
}

/* Submits a JSON object, whose numbers become metrics of the node. */
W3B_FN int32_t w3b_metrics(w3b_bytes object) { return ws_submit_metrics(object.at, object.size) ? W3B_HOST : W3B_OK; }

/* A statement of SQL with `?` for each parameter; give those in order, then run it. */
typedef struct {
    w3b_text json;
    int params;
} w3b_sql;

W3B_FN w3b_sql w3b_statement(const char *statement) {
    w3b_sql sql = {{0}, 0};
    w3b_put(&sql.json, "{\"statement\":");
    w3b_put_json(&sql.json, w3b_str(statement));
    w3b_put(&sql.json, ",\"params\":[");
    return sql;
}

W3B_FN void w3b_param_i64(w3b_sql *sql, int64_t value) {
    w3b_put(&sql->json, sql->params++ ? ",{\"int64\":" : "{\"int64\":");
    w3b_put_i64(&sql->json, value);
    w3b_put(&sql->json, "}");
}

W3B_FN void w3b_param_text(w3b_sql *sql, w3b_bytes value) {
    w3b_put(&sql->json, sql->params++ ? ",{\"string\":" : "{\"string\":");
    w3b_put_json(&sql->json, value);
    w3b_put(&sql->json, "}");
}

/* Runs it. Gives 0, or W3B_HOST if it was refused or failed; the project's log says why. */
W3B_FN int32_t w3b_execute(w3b_sql *sql) {
    w3b_put(&sql->json, "]}");
    return ws_set_sql_db(sql->json.at, sql->json.size) ? W3B_HOST : W3B_OK;
}

/* Runs it and gives its rows: nothing, one JSON object, or an array of objects. */
W3B_FN int32_t w3b_query(w3b_sql *sql, w3b_bytes *rows) {
    void *at = 0;
    size_t size = 0;
    w3b_put(&sql->json, "]}");
    int32_t code = ws_get_sql_db(sql->json.at, sql->json.size, &at, &size);
    *rows = (w3b_bytes){at, size};
    return code ? W3B_HOST : W3B_OK;
}

/* ---- JSON: one flat object of texts, whole numbers, true, false and null. ---- */

/* Where reading is. Begin with w3b_json(payload). */
typedef struct {
    w3b_bytes text;
    size_t at;
    int begun;
} w3b_reader;

W3B_FN w3b_reader w3b_json(w3b_bytes text) { return (w3b_reader){text, 0, 0}; }

W3B_FN int w3b_json_peek(w3b_reader *r) {
    while (r->at < r->text.size) {
        char c = r->text.at[r->at];
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r') return (unsigned char)c;
        r->at++;
    }
    return -1;
}

W3B_FN int w3b_json_take(w3b_reader *r, char wanted) {
    if (w3b_json_peek(r) != wanted) return 0;
    r->at++;
    return 1;
}

/* A quoted text without its quotes. One with an escape is refused: this kit compares and copies texts as they are. */
W3B_FN int w3b_json_quoted(w3b_reader *r, w3b_bytes *value) {
    if (!w3b_json_take(r, '"')) return 0;
    size_t begin = r->at;
    for (; r->at < r->text.size; r->at++) {
        unsigned char c = (unsigned char)r->text.at[r->at];
        if (c == '\\' || c < 0x20) return 0;
        if (c != '"') continue;
        *value = (w3b_bytes){r->text.at + begin, r->at++ - begin};
        return 1;
    }
    return 0;
}

/* What a value is. */
enum { W3B_IS_TEXT = 's', W3B_IS_NUMBER = 'n', W3B_IS_OTHER = 'o' };

/* The next member: 1 with its name, its value and what that is; 0 behind the last; W3B_JSON if this is no such object. */
W3B_FN int w3b_json_next(w3b_reader *r, w3b_bytes *name, w3b_bytes *value, char *is) {
    if (!r->begun) {
        if (!w3b_json_take(r, '{')) return W3B_JSON;
        r->begun = 1;
        if (w3b_json_take(r, '}')) return w3b_json_peek(r) == -1 ? 0 : W3B_JSON;
    } else if (w3b_json_take(r, '}')) {
        return w3b_json_peek(r) == -1 ? 0 : W3B_JSON;
    } else if (!w3b_json_take(r, ',')) {
        return W3B_JSON;
    }
    if (!w3b_json_quoted(r, name) || !w3b_json_take(r, ':')) return W3B_JSON;
    if (w3b_json_peek(r) == '"') {
        *is = W3B_IS_TEXT;
        return w3b_json_quoted(r, value) ? 1 : W3B_JSON;
    }
    size_t begin = r->at;
    while (r->at < r->text.size) {
        char c = r->text.at[r->at];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-' || c == '+' || c == '.' || c == 'E')) break;
        r->at++;
    }
    *value = (w3b_bytes){r->text.at + begin, r->at - begin};
    int64_t number;
    if (!w3b_parse_i64(*value, &number))
        *is = W3B_IS_NUMBER;
    else if (w3b_same(*value, w3b_str("true")) || w3b_same(*value, w3b_str("false")) || w3b_same(*value, w3b_str("null")))
        *is = W3B_IS_OTHER;
    else
        return W3B_JSON;
    return 1;
}

W3B_FN int w3b_json_find(w3b_bytes object, const char *wanted, char kind, w3b_bytes *value) {
    w3b_reader r = w3b_json(object);
    w3b_bytes name, found;
    char is;
    int code, seen = 0;
    while ((code = w3b_json_next(&r, &name, &found, &is)) == 1) {
        if (!w3b_same(name, w3b_str(wanted))) continue;
        if (is != kind || seen) return W3B_JSON;
        *value = found;
        seen = 1;
    }
    return code == 0 && seen ? W3B_OK : W3B_JSON;
}

/* The text of a name in an object: 0, or W3B_JSON if there is none. */
W3B_FN int32_t w3b_json_text(w3b_bytes object, const char *name, w3b_bytes *value) {
    return w3b_json_find(object, name, W3B_IS_TEXT, value);
}

/* The whole number of a name in an object: 0, or W3B_JSON if there is none. */
W3B_FN int32_t w3b_json_i64(w3b_bytes object, const char *name, int64_t *value) {
    w3b_bytes text;
    if (w3b_json_find(object, name, W3B_IS_NUMBER, &text)) return W3B_JSON;
    return w3b_parse_i64(text, value) ? W3B_JSON : W3B_OK;
}

#endif
