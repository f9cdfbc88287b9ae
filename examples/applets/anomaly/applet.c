/* Finds readings that do not fit what their sensor said before.
 *
 * A message has the readings of several sensors at one time: {"t":1357020000000,"temp":3902,"wind":1036}, where `t` is in
 * milliseconds and all other whole numbers are readings; what is no whole number is passed over.
 *
 * Of each sensor the applet keeps, under `s/<sensor>`, how many readings came, their mean, and their mean distance from it (the
 * spread), both exponentially smoothed over some 16 readings, in 256ths. A reading further from the mean than `limit` times the
 * spread is an anomaly: `anomalies/<sensor>` gets {"sensor":…,"t":…,"v":…,"expected":…,"spread":…}, the key `anomalies` counts
 * it, and it is learned from only up to the limit, so that a wild value does not hide the next one while a lasting change
 * becomes normal.
 *
 * Settings: `limit` (8), how many spreads from the mean are normal, 1 to 1,000; `warm_up` (24), how many readings of a sensor
 * are learned from before any is judged; `floor` (10), the least spread that is reckoned with, up to 1,000,000,000.
 */
#include "w3bstream.h"

enum { TOO_LARGE = 3, PARTS = 256, SMOOTH = 16 };

/* The largest reading. With it no step below leaves 64 bits. */
#define LARGEST INT64_C(1000000000000)

typedef struct {
    int64_t limit, warm_up, floor;
} settings;

/* What was learned of a sensor; mean and spread in parts of a unit. */
typedef struct {
    int64_t count, mean, spread;
} sensor;

static int setting(const char *name, int64_t otherwise, int64_t least, int64_t most, int64_t *value) {
    w3b_bytes text;
    *value = otherwise;
    if (w3b_env(name, &text)) return 0;
    return w3b_parse_i64(text, value) || *value < least || *value > most;
}

static int64_t distance(int64_t a, int64_t b) { return a > b ? a - b : b - a; }

/* Learns from a reading. 1 if it is an anomaly, with the mean and the spread that it does not fit. */
static int learn(sensor *s, int64_t value, const settings *set, int64_t *expected, int64_t *spread) {
    int64_t before = s->mean;
    value *= PARTS;
    if (++s->count == 1) {
        s->mean = value;
        return 0;
    }
    *spread = s->spread > set->floor * PARTS ? s->spread : set->floor * PARTS;
    int64_t most = *spread * set->limit;
    int strange = s->count > set->warm_up && distance(value, before) > most;
    if (strange) value = value > before ? before + most : before - most;
    s->spread += (distance(value, before) - s->spread) / SMOOTH;
    s->mean += (value - before) / SMOOTH;
    *expected = before / PARTS;
    *spread /= PARTS;
    return strange;
}

/* What was learned before: three numbers with spaces between them. 1 if it is something else. */
static int load(w3b_bytes key, sensor *s) {
    w3b_bytes value;
    int64_t *into[] = {&s->count, &s->mean, &s->spread};
    size_t at = 0;
    *s = (sensor){0, 0, 0};
    if (w3b_get_bytes(key, &value)) return 0;
    for (int i = 0; i < 3; i++, at++) {
        size_t begin = at;
        while (at < value.size && value.at[at] != ' ') at++;
        if (begin > value.size || w3b_parse_i64((w3b_bytes){value.at + begin, at - begin}, into[i])) return 1;
    }
    return 0;
}

static int32_t keep(w3b_bytes key, const sensor *s) {
    w3b_text text = {0};
    w3b_put_i64(&text, s->count);
    w3b_put(&text, " ");
    w3b_put_i64(&text, s->mean);
    w3b_put(&text, " ");
    w3b_put_i64(&text, s->spread);
    return w3b_set_bytes(key, w3b_done(&text));
}

static void member(w3b_text *text, const char *name, int64_t value) {
    w3b_put(text, name);
    w3b_put_i64(text, value);
}

static int32_t tell(w3b_bytes name, int64_t time, int64_t value, int64_t expected, int64_t spread) {
    w3b_text line = {0}, topic = {0}, found = {0};
    w3b_put_bytes(&line, name);
    member(&line, ": ", value);
    member(&line, " at ", time);
    member(&line, ", expected ", expected);
    member(&line, " with a spread of ", spread);
    w3b_log_bytes(W3B_WARN, w3b_done(&line));
    w3b_put(&topic, "anomalies/");
    w3b_put_bytes(&topic, name);
    w3b_put(&found, "{\"sensor\":");
    w3b_put_json(&found, name);
    member(&found, ",\"t\":", time);
    member(&found, ",\"v\":", value);
    member(&found, ",\"expected\":", expected);
    member(&found, ",\"spread\":", spread);
    w3b_put(&found, "}");
    int32_t code = w3b_publish(w3b_done(&topic), w3b_done(&found));
    return code ? code : w3b_set_i64("anomalies", w3b_get_i64("anomalies", 0) + 1);
}

static int32_t judge(w3b_bytes name, int64_t time, int64_t value, const settings *set) {
    w3b_text key = {0};
    sensor s;
    int64_t expected = 0, spread = 0;
    w3b_put(&key, "s/");
    w3b_put_bytes(&key, name);
    if (load(w3b_done(&key), &s)) return w3b_fail(W3B_GENERAL, "what was learned of a sensor cannot be read");
    int strange = learn(&s, value, set, &expected, &spread);
    int32_t code = keep(w3b_done(&key), &s);
    return code || !strange ? code : tell(name, time, value, expected, spread);
}

/* The next reading of a message: 1, 0 behind the last, W3B_JSON if it is no message. */
static int next(w3b_reader *reader, w3b_bytes *name, int64_t *value) {
    w3b_bytes text;
    char is;
    int code;
    while ((code = w3b_json_next(reader, name, &text, &is)) == 1)
        if (is == W3B_IS_NUMBER && !w3b_same(*name, w3b_str("t")) && !w3b_parse_i64(text, value)) return 1;
    return code;
}

W3B_HANDLER(reading) {
    w3b_bytes event, name;
    int64_t time, value;
    settings set;
    if (w3b_event(rid, &event)) return W3B_HOST;
    if (w3b_json_i64(event, "t", &time)) return w3b_fail(W3B_JSON, "t must be a whole number");
    if (setting("limit", 8, 1, 1000, &set.limit) || setting("warm_up", 24, 1, LARGEST, &set.warm_up) ||
        setting("floor", 10, 0, 1000000000, &set.floor))
        return w3b_fail(W3B_GENERAL, "a setting is out of range");
    w3b_reader reader = w3b_json(event);
    while (next(&reader, &name, &value) == 1)
        if (value > LARGEST || value < -LARGEST) return w3b_fail(TOO_LARGE, "a reading must be at most 1000000000000");
    for (reader = w3b_json(event); next(&reader, &name, &value) == 1;) {
        int32_t code = judge(name, time, value, &set);
        if (code) return code;
    }
    return W3B_OK;
}
