/* A host in memory for native tests of applets in C. Include it after w3bstream.h in one file of the test:
 *
 *     #include "applet.c"
 *     #include "w3bstream_mock.h"
 *
 *     int main(void) {
 *         assert(mock_deliver(count, "reading", "{}") == 0);
 *         assert(!strcmp(mock_value("count"), "1"));
 *     }
 *
 * It keeps keys between events and the messages, metrics, statements and lines of all of them. Texts only: a value with a
 * byte 0 in it is cut there.
 */
#ifndef W3BSTREAM_MOCK_H
#define W3BSTREAM_MOCK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOCK_MOST 4096

typedef struct {
    char *name, *value;
} mock_pair;

typedef struct {
    mock_pair of[MOCK_MOST];
    size_t count;
} mock_list;

/* Keys; settings; messages by topic; lines by level; what `ws_get_sql_db` answers by its JSON. */
static mock_list mock_kv, mock_env, mock_published, mock_logs, mock_answers, mock_statements, mock_metrics, mock_events;
static const char *mock_payload, *mock_type;
static const char *mock_device = "did:key:z6MkMock";
/* What the last handler answered, or NULL; how many events led to the one that is delivered; the sender's time. */
static const char *mock_answer;
static uint64_t mock_depth, mock_time;

static char *mock_copy(const void *at, size_t size) {
    char *copy = malloc(size + 1);
    if (!copy) abort();
    if (size) memcpy(copy, at, size);
    copy[size] = 0;
    return copy;
}

static void mock_add(mock_list *list, char *name, char *value) {
    if (list->count == MOCK_MOST) {
        fprintf(stderr, "more than %d entries in a list of the mock\n", MOCK_MOST);
        abort();
    }
    list->of[list->count++] = (mock_pair){name, value};
}

static const char *mock_find(const mock_list *list, const char *name) {
    for (size_t i = list->count; i-- > 0;)
        if (!strcmp(list->of[i].name, name)) return list->of[i].value;
    return NULL;
}

/* The value of a key, or NULL. */
W3B_FN const char *mock_value(const char *key) { return mock_find(&mock_kv, key); }

/* Adds a setting of the manifest. */
W3B_FN void mock_setting(const char *name, const char *value) {
    mock_add(&mock_env, mock_copy(name, strlen(name)), mock_copy(value, strlen(value)));
}

/* What the database answers to a query, by the JSON that the kit writes. */
W3B_FN void mock_rows(const char *json, const char *rows) {
    mock_add(&mock_answers, mock_copy(json, strlen(json)), mock_copy(rows, strlen(rows)));
}

/* The last message of a topic, or NULL. */
W3B_FN const char *mock_message(const char *topic) { return mock_find(&mock_published, topic); }

/* Calls a handler with an event. */
W3B_FN int32_t mock_deliver(int32_t (*handler)(int32_t), const char *type, const char *payload) {
    mock_type = type;
    mock_payload = payload;
    mock_answer = NULL;
    return handler(1);
}

static int32_t mock_give(const char *text, int32_t absent, void **at, size_t *size) {
    if (!text) return absent;
    *size = strlen(text);
    *at = mock_copy(text, *size);
    return 0;
}

static int32_t mock_give_named(const mock_list *list, const void *name, size_t name_size, int32_t absent, void **at,
                               size_t *size) {
    char *text = mock_copy(name, name_size);
    int32_t code = mock_give(mock_find(list, text), absent, at, size);
    free(text);
    return code;
}

int32_t ws_log(int32_t level, const void *text, size_t size) {
    char number[12];
    snprintf(number, sizeof number, "%d", level);
    mock_add(&mock_logs, mock_copy(number, strlen(number)), mock_copy(text, size));
    return 0;
}

int32_t ws_get_data(int32_t rid, void **at, size_t *size) { return mock_give(rid == 1 ? mock_payload : NULL, 2, at, size); }

int32_t ws_get_event_type(int32_t rid, void **at, size_t *size) {
    return mock_give(rid == 1 ? mock_type : NULL, 2, at, size);
}

int32_t ws_get_context(int32_t rid, int32_t item, void **at, size_t *size) {
    uint64_t number = item == 5 ? mock_time : mock_depth;
    if (rid == 1 && (item == 5 || (item == 6 && mock_depth))) {
        unsigned char bytes[8];
        for (int i = 7; i >= 0; i--, number >>= 8) bytes[i] = (unsigned char)number;
        *size = 8;
        *at = mock_copy(bytes, 8);
        return 0;
    }
    return mock_give(rid == 1 && item == 2 ? mock_device : NULL, 2, at, size);
}

int32_t ws_get_db(const void *key, size_t key_size, void **at, size_t *size) {
    return mock_give_named(&mock_kv, key, key_size, 2, at, size);
}

int32_t ws_set_db(const void *key, size_t key_size, const void *value, size_t value_size) {
    if (key_size == 0 || key_size > 1024) return -1;
    char *name = mock_copy(key, key_size), *copy = mock_copy(value, value_size);
    for (size_t i = 0; i < mock_kv.count; i++) {
        if (strcmp(mock_kv.of[i].name, name)) continue;
        free(mock_kv.of[i].value);
        free(name);
        mock_kv.of[i].value = copy;
        return 0;
    }
    mock_add(&mock_kv, name, copy);
    return 0;
}

int32_t ws_get_env(const void *name, size_t name_size, void **at, size_t *size) {
    return mock_give_named(&mock_env, name, name_size, 8, at, size);
}

int32_t ws_set_sql_db(const void *json, size_t json_size) {
    mock_add(&mock_statements, mock_copy("", 0), mock_copy(json, json_size));
    return 0;
}

int32_t ws_get_sql_db(const void *json, size_t json_size, void **at, size_t *size) {
    int32_t code = mock_give_named(&mock_answers, json, json_size, 2, at, size);
    return code == 2 ? mock_give("", 0, at, size) : code;
}

int32_t ws_send_mqtt_msg(const void *topic, size_t topic_size, const void *payload, size_t payload_size) {
    if (topic_size == 0 || topic_size > 1024) return -1;
    mock_add(&mock_published, mock_copy(topic, topic_size), mock_copy(payload, payload_size));
    return 0;
}

/* Delivered to nobody: the test looks at `mock_events`. */
int32_t ws_send_event(const void *type, size_t type_size, const void *payload, size_t payload_size) {
    if (type_size == 0 || type_size > 63) return -1;
    if (mock_depth >= 8) return 11;
    mock_add(&mock_events, mock_copy(type, type_size), mock_copy(payload, payload_size));
    return 0;
}

int32_t ws_send_answer(const void *answer, size_t size) {
    if (mock_answer) return -1;
    mock_answer = mock_copy(answer, size);
    return 0;
}

int32_t ws_submit_metrics(const void *json, size_t json_size) {
    mock_add(&mock_metrics, mock_copy("", 0), mock_copy(json, json_size));
    return 0;
}

#endif
