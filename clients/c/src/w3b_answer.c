/* What a node's answers mean. */
#include "w3b_client.h"

#include <string.h>

static void copy(char *out, size_t cap, const char *from, size_t len)
{
    len = len < cap - 1 ? len : cap - 1;
    memcpy(out, from, len);
    out[len] = 0;
}

void w3b_unreachable(w3b_answer *answer, const char *detail)
{
    memset(answer, 0, sizeof *answer);
    answer->kind = W3B_LATER;
    strcpy(answer->code, "unreachable");
    copy(answer->detail, sizeof answer->detail, detail, strlen(detail));
}

/* The end of a JSON string that begins at `at`, or `len`. */
static size_t string_end(const char *json, size_t len, size_t at)
{
    for (at++; at < len && json[at] != '"'; at++) {
        at += json[at] == '\\';
    }
    return at < len ? at : len;
}

/* Finds the value of a member of the outermost object. Gives where it begins, or `len`. */
static size_t member(const char *json, size_t len, const char *name)
{
    size_t depth = 0;
    size_t size = strlen(name);
    for (size_t at = 0; at < len; at++) {
        char c = json[at];
        if (c == '"') {
            size_t end = string_end(json, len, at);
            size_t after = end + 1;
            while (after < len && (json[after] == ' ' || json[after] == '\n' || json[after] == '\t' || json[after] == '\r')) {
                after++;
            }
            if (depth == 1 && end - at - 1 == size && memcmp(json + at + 1, name, size) == 0 && after < len
                && json[after] == ':') {
                for (after++; after < len && (json[after] == ' ' || json[after] == '\n'); after++) {
                }
                return after;
            }
            at = end;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            depth -= depth > 0;
        }
    }
    return len;
}

/* A text's bytes with their escapes, which codes do not have and which do no harm in words. */
static int text_member(const char *json, size_t len, const char *name, char *out, size_t cap)
{
    size_t at = member(json, len, name);
    if (at >= len || json[at] != '"') {
        return 0;
    }
    copy(out, cap, json + at + 1, string_end(json, len, at) - at - 1);
    return 1;
}

/* Digits that make a number of 32 bits. */
static int number(const char *text, size_t len, uint32_t *out)
{
    uint64_t n = 0;
    size_t at = 0;
    while (at < len && at < 11 && text[at] >= '0' && text[at] <= '9') {
        n = n * 10 + (uint64_t)(text[at++] - '0');
    }
    *out = (uint32_t)n;
    return at > 0 && n <= UINT32_MAX;
}

static int is_transient(const char *code)
{
    static const char *const codes[] = {"overloaded", "shutting-down", "storage-failing", "not-ready"};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        if (strcmp(code, codes[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

void w3b_read_http(int status, uint32_t retry_after, const char *body, size_t len, w3b_answer *answer)
{
    int has_code;
    size_t at;
    memset(answer, 0, sizeof *answer);
    if (status == 200 || status == 201) {
        at = member(body, len, "duplicate");
        answer->kind = W3B_ACCEPTED;
        answer->duplicate = at < len && body[at] == 't';
        return;
    }
    has_code = text_member(body, len, "code", answer->code, sizeof answer->code);
    (void)text_member(body, len, "detail", answer->detail, sizeof answer->detail);
    if (status >= 400 && status < 500 && status != 408 && status != 429 && has_code && !is_transient(answer->code)) {
        at = member(body, len, "next_epoch");
        answer->kind = W3B_REFUSED;
        answer->has_next_epoch = at < len && number(body + at, len - at, &answer->next_epoch);
        return;
    }
    answer->kind = W3B_LATER;
    answer->wait_ms = retry_after < 3600 ? retry_after * 1000 : 3600000;
    if (!has_code) {
        strcpy(answer->code, "http-000");
        answer->code[5] = (char)('0' + status / 100 % 10);
        answer->code[6] = (char)('0' + status / 10 % 10);
        answer->code[7] = (char)('0' + status % 10);
    }
}

void w3b_read_puback(int reason_code, const char *reason, w3b_answer *answer)
{
    static const char mark[] = "; next-epoch=";
    const char *colon;
    memset(answer, 0, sizeof *answer);
    answer->kind = reason_code < 0x80 ? W3B_ACCEPTED : W3B_REFUSED;
    if (answer->kind == W3B_ACCEPTED) {
        return;
    }
    if (!reason || !*reason) {
        strcpy(answer->code, "mqtt-refused");
        return;
    }
    colon = strstr(reason, ": ");
    copy(answer->code, sizeof answer->code, reason, colon ? (size_t)(colon - reason) : strlen(reason));
    if (colon) {
        copy(answer->detail, sizeof answer->detail, colon + 2, strlen(colon + 2));
    }
    /* At the end, and only there. */
    for (const char *at = strstr(reason, mark); at; at = strstr(at + 1, mark)) {
        const char *digits = at + sizeof mark - 1;
        if (strspn(digits, "0123456789") == strlen(digits)) {
            answer->has_next_epoch = number(digits, strlen(digits), &answer->next_epoch);
        }
    }
}
