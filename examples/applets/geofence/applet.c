/* Says when a device enters or leaves an area.
 *
 * A position is {"device":"cat","lat":47376887,"lon":8541694}, in millionths of a degree. The setting `fence` of the manifest
 * is the area: its corners as `lat,lon`, separated by `;`. Whole numbers decide the same on every machine. The area must not
 * reach over the 180th meridian.
 *
 * The key `in/<device>` is 1 or 0. When it changes, or is 1 at first, `fence/<device>` gets
 * {"device":…,"event":"entered" or "left","lat":…,"lon":…}.
 */
#include "w3bstream.h"

enum { NOWHERE = 3 };

typedef struct {
    int64_t lat, lon;
} point;

static int on_earth(point p) {
    return p.lat >= -90000000 && p.lat <= 90000000 && p.lon >= -180000000 && p.lon <= 180000000;
}

/* The corner that begins at *at and ends with `;` or the text; 0 if it is none. */
static int corner(w3b_bytes text, size_t *at, point *p) {
    size_t begin = *at, comma = begin;
    while (comma < text.size && text.at[comma] != ',' && text.at[comma] != ';') comma++;
    if (comma == text.size || text.at[comma] != ',') return 0;
    size_t end = comma + 1;
    while (end < text.size && text.at[end] != ';') end++;
    *at = end;
    return !w3b_parse_i64((w3b_bytes){text.at + begin, comma - begin}, &p->lat) &&
           !w3b_parse_i64((w3b_bytes){text.at + comma + 1, end - comma - 1}, &p->lon) && on_earth(*p);
}

/* The corners of an area; their number, or 0 if it is none. */
static size_t area(w3b_bytes text, point **corners) {
    size_t count = 0, room = 1;
    for (size_t i = 0; i < text.size; i++) room += text.at[i] == ';';
    *corners = w3b_alloc(room * sizeof(point));
    for (size_t at = 0; at <= text.size; at++)
        if (!corner(text, &at, &(*corners)[count++])) return 0;
    return count > 2 ? count : 0;
}

/* Whether a ray from the point towards the east crosses the border an odd number of times. */
static int inside(const point *corners, size_t count, point p) {
    int odd = 0;
    for (size_t i = 0; i < count; i++) {
        point a = corners[i], b = corners[(i + 1) % count];
        /* At most 3.6e8 * 1.8e8 * 2: far from the end of 64 bits. */
        int64_t side = (b.lon - a.lon) * (p.lat - a.lat) - (p.lon - a.lon) * (b.lat - a.lat);
        if ((a.lat > p.lat) != (b.lat > p.lat) && (side > 0) == (b.lat > a.lat) && side != 0) odd = !odd;
    }
    return odd;
}

static int32_t tell(w3b_bytes device, int now, point here) {
    w3b_text topic = {0}, text = {0};
    w3b_put(&topic, "fence/");
    w3b_put_bytes(&topic, device);
    w3b_put(&text, "{\"device\":");
    w3b_put_json(&text, device);
    w3b_put(&text, now ? ",\"event\":\"entered\",\"lat\":" : ",\"event\":\"left\",\"lat\":");
    w3b_put_i64(&text, here.lat);
    w3b_put(&text, ",\"lon\":");
    w3b_put_i64(&text, here.lon);
    w3b_put(&text, "}");
    return w3b_publish(w3b_done(&topic), w3b_done(&text));
}

W3B_HANDLER(position) {
    w3b_bytes event, device, fence, value;
    point here, *corners;
    if (w3b_event(rid, &event)) return W3B_HOST;
    if (w3b_json_text(event, "device", &device)) return w3b_fail(W3B_JSON, "device must be a text");
    if (w3b_json_i64(event, "lat", &here.lat) || w3b_json_i64(event, "lon", &here.lon))
        return w3b_fail(W3B_JSON, "lat and lon must be whole numbers");
    if (!on_earth(here)) return w3b_fail(NOWHERE, "lat must be at most 90000000, lon at most 180000000");
    size_t count = w3b_env("fence", &fence) ? 0 : area(fence, &corners);
    if (!count) return w3b_fail(W3B_GENERAL, "the setting fence must be lat,lon;lat,lon;lat,lon");
    w3b_text key = {0};
    w3b_put(&key, "in/");
    w3b_put_bytes(&key, device);
    int now = inside(corners, count, here);
    int before = !w3b_get_bytes(w3b_done(&key), &value) && w3b_same(value, w3b_str("1"));
    int32_t code = now == before ? W3B_OK : tell(device, now, here);
    return code ? code : w3b_set_bytes(w3b_done(&key), w3b_str(now ? "1" : "0"));
}
