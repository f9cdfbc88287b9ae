#define _POSIX_C_SOURCE 200809L
#include "w3b_posix.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY);
    int failed = fd < 0 || fsync(fd) != 0;
    if (fd >= 0) {
        close(fd);
    }
    return failed ? W3B_ERR_STORE : W3B_OK;
}

/* Puts a file in place so that a crash leaves the old or the new one. */
static int write_file(const w3b_folder *f, const char *name, const char *sub, const uint8_t *data, size_t len)
{
    char path[384], fresh[320], folder[320];
    int fd, failed;
    snprintf(folder, sizeof folder, "%s%s", f->path, sub);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    snprintf(fresh, sizeof fresh, "%s/new", f->path);
    fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0) {
        return W3B_ERR_STORE;
    }
    failed = write(fd, data, len) != (ssize_t)len || fsync(fd) != 0;
    failed |= close(fd) != 0;
    if (failed || rename(fresh, path) != 0) {
        return W3B_ERR_STORE;
    }
    return sync_folder(folder);
}

static int save(void *ctx, uint32_t epoch, uint64_t reserved)
{
    char text[64];
    int len = snprintf(text, sizeof text, "%" PRIu32 " %" PRIu64 "\n", epoch, reserved);
    return write_file(ctx, "state", "", (const uint8_t *)text, (size_t)len);
}

static int load(void *ctx, uint32_t *epoch, uint64_t *reserved)
{
    w3b_folder *f = ctx;
    char path[320];
    FILE *file;
    int count;
    snprintf(path, sizeof path, "%s/state", f->path);
    file = fopen(path, "r");
    if (!file) {
        *epoch = 0;
        *reserved = 0;
        return errno == ENOENT ? W3B_OK : W3B_ERR_STORE;
    }
    count = fscanf(file, "%" SCNu32 " %" SCNu64, epoch, reserved);
    fclose(file);
    return count == 2 && *reserved <= (uint64_t)1 << 32 ? W3B_OK : W3B_ERR_STORE;
}

static void name_of(uint64_t number, char name[20])
{
    snprintf(name, 20, "%016" PRIx64, number);
}

static int push(void *ctx, const uint8_t *record, size_t len)
{
    w3b_folder *f = ctx;
    char name[20];
    int error;
    if (f->tail - f->head >= f->max_records) {
        return W3B_FULL;
    }
    name_of(f->tail, name);
    error = write_file(f, name, "/q", record, len);
    f->tail += error == W3B_OK;
    return error;
}

static int first(void *ctx, uint8_t *record, size_t cap, size_t *len)
{
    w3b_folder *f = ctx;
    char name[20], path[320];
    ssize_t got;
    int fd;
    if (f->head == f->tail) {
        return W3B_EMPTY;
    }
    name_of(f->head, name);
    snprintf(path, sizeof path, "%s/q/%s", f->path, name);
    fd = open(path, O_RDONLY);
    if (fd < 0) {
        return W3B_ERR_STORE;
    }
    got = read(fd, record, cap);
    close(fd);
    *len = got < 0 ? 0 : (size_t)got;
    return got < 0 ? W3B_ERR_STORE : W3B_OK;
}

static int replace_first(void *ctx, const uint8_t *record, size_t len)
{
    char name[20];
    name_of(((w3b_folder *)ctx)->head, name);
    return write_file(ctx, name, "/q", record, len);
}

static int pop(void *ctx)
{
    w3b_folder *f = ctx;
    char name[20], path[320];
    if (f->head == f->tail) {
        return W3B_EMPTY;
    }
    name_of(f->head, name);
    snprintf(path, sizeof path, "%s/q/%s", f->path, name);
    if (unlink(path) != 0) {
        return W3B_ERR_STORE;
    }
    f->head++;
    /* A crash must not bring it back: after messages of a newer boot epoch it would be taken for one that never came. */
    snprintf(path, sizeof path, "%s/q", f->path);
    return sync_folder(path);
}

/* The numbers that are there. They have no gaps. */
static int scan(w3b_folder *f)
{
    char path[320];
    struct dirent *entry;
    uint64_t low = UINT64_MAX, high = 0;
    DIR *dir;
    snprintf(path, sizeof path, "%s/q", f->path);
    dir = opendir(path);
    if (!dir) {
        return W3B_ERR_STORE;
    }
    while ((entry = readdir(dir)) != NULL) {
        if (strlen(entry->d_name) == 16) {
            uint64_t number = strtoull(entry->d_name, NULL, 16);
            low = number < low ? number : low;
            high = number + 1 > high ? number + 1 : high;
        }
    }
    closedir(dir);
    f->head = low == UINT64_MAX ? 0 : low;
    f->tail = high;
    return W3B_OK;
}

int w3b_folder_open(w3b_folder *f, const char *path, uint32_t max_records, w3b_store *store)
{
    char name[320];
    struct flock whole;
    memset(f, 0, sizeof *f);
    if (strlen(path) >= sizeof f->path) {
        return W3B_ERR_INPUT;
    }
    strcpy(f->path, path);
    f->max_records = max_records;
    snprintf(name, sizeof name, "%s/q", path);
    if ((mkdir(path, 0700) != 0 && errno != EEXIST) || (mkdir(name, 0700) != 0 && errno != EEXIST)) {
        return W3B_ERR_STORE;
    }
    snprintf(name, sizeof name, "%s/lock", path);
    f->lock = open(name, O_RDWR | O_CREAT, 0600);
    memset(&whole, 0, sizeof whole);
    whole.l_type = F_WRLCK;
    whole.l_whence = SEEK_SET;
    if (f->lock < 0 || fcntl(f->lock, F_SETLK, &whole) != 0 || sync_folder(path) != W3B_OK) {
        return W3B_ERR_STORE;
    }
    store->load = load;
    store->save = save;
    store->push = push;
    store->first = first;
    store->replace_first = replace_first;
    store->pop = pop;
    store->ctx = f;
    return scan(f);
}

void w3b_folder_close(w3b_folder *f)
{
    close(f->lock);
}

int w3b_posix_random(void *ctx, uint8_t *out, size_t len)
{
    int fd = open("/dev/urandom", O_RDONLY);
    ssize_t got;
    (void)ctx;
    if (fd < 0) {
        return -1;
    }
    got = read(fd, out, len);
    close(fd);
    return got == (ssize_t)len ? 0 : -1;
}
