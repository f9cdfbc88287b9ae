#define _POSIX_C_SOURCE 200809L
#include "w3b_posix.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* More of an answer is not read. Results of handlers, which can be longer, come last in it. */
#define ANSWER_BYTES 4096

static int dial(const w3b_http *http)
{
    struct addrinfo hints, *found = NULL;
    struct timeval timeout;
    int fd = -1;
    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    if (getaddrinfo(http->host, http->port, &hints, &found) != 0) {
        return -1;
    }
    timeout.tv_sec = http->timeout_s;
    timeout.tv_usec = 0;
    for (struct addrinfo *a = found; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
        if (fd < 0) {
            continue;
        }
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
        if (connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(found);
    return fd;
}

static int write_all(int fd, const void *data, size_t len)
{
    const char *at = data;
    while (len) {
        ssize_t sent = send(fd, at, len, MSG_NOSIGNAL);
        if (sent <= 0) {
            return -1;
        }
        at += sent;
        len -= (size_t)sent;
    }
    return 0;
}

/* The value of a header as a number, or `none`. */
static long header(const char *head, const char *end, const char *name, long none)
{
    size_t size = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line && line < end; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, size) == 0 && line[2 + size] == ':') {
            return strtol(line + 3 + size, NULL, 10);
        }
    }
    return none;
}

static void read_answer(int fd, w3b_answer *answer)
{
    char text[ANSWER_BYTES + 1];
    size_t len = 0;
    int status = 0;
    long length = -1, wait;
    char *end = NULL;
    while (len < ANSWER_BYTES) {
        ssize_t got = recv(fd, text + len, ANSWER_BYTES - len, 0);
        if (got <= 0) {
            break;
        }
        len += (size_t)got;
        text[len] = 0;
        if (!end && (end = strstr(text, "\r\n\r\n")) != NULL) {
            length = header(text, end, "Content-Length", -1);
        }
        if (end && length >= 0 && len - (size_t)(end + 4 - text) >= (size_t)length) {
            break;
        }
    }
    text[len] = 0;
    /* Half an answer is none: its status alone would do for an acceptance, but a proxy may have cut it. */
    if (!end || (length > (long)(len - (size_t)(end + 4 - text)) && len < ANSWER_BYTES)
        || sscanf(text, "HTTP/1.%*d %d", &status) != 1) {
        w3b_unreachable(answer, "the answer is no HTTP, or was cut off");
        return;
    }
    wait = header(text, end, "Retry-After", 0);
    w3b_read_http(status, wait > 0 ? (uint32_t)wait : 0, end + 4, len - (size_t)(end + 4 - text), answer);
}

static void post(void *ctx, const char *type, const char *content_type, const uint8_t *body, size_t len,
                 w3b_answer *answer)
{
    const w3b_http *http = ctx;
    char head[512];
    int size = snprintf(head, sizeof head,
                        "POST /v1/projects/%s/events HTTP/1.1\r\nHost: %s:%s\r\nContent-Type: %s\r\n"
                        "Content-Length: %zu\r\nConnection: close\r\n\r\n",
                        http->project, http->host, http->port, content_type, len);
    int fd = dial(http);
    (void)type;
    if (fd < 0) {
        w3b_unreachable(answer, "nobody listens there");
        return;
    }
    /* A node may refuse before it has read everything; then its answer counts. */
    if (write_all(fd, head, (size_t)size) == 0) {
        (void)write_all(fd, body, len);
    }
    read_answer(fd, answer);
    close(fd);
}

int w3b_http_init(w3b_http *http, const char *url, const char *project, w3b_transport *transport)
{
    memset(http, 0, sizeof *http);
    http->timeout_s = 30;
    strcpy(http->port, "80");
    if (strlen(project) >= sizeof http->project
        || sscanf(url, "http://%127[^:/]:%7[0-9]", http->host, http->port) < 1) {
        return W3B_ERR_INPUT;
    }
    strcpy(http->project, project);
    transport->send = post;
    transport->ctx = http;
    return W3B_OK;
}
