#include "cmd/runsc-c/oci/json.h"

#include "lib/compiler.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_FILE = 4 << 20, MAX_DEPTH = 32 };

static const char *dot(const char *where)
{
    return where[0] ? "." : "";
}

/* The member `key` if it has type `type`; NULL in *out when absent. */
static int member(struct json_object *o, const char *where, const char *key, enum json_type type, const char *type_name,
                  bool required, struct json_object **out, struct error *e)
{
    struct json_object *v = NULL;

    *out = NULL;
    json_object_object_get_ex(o, key, &v);
    if (!v)
        return required ? error_set(e, 0, "%s%s%s is missing", where, dot(where), key) : 0;
    if (!json_object_is_type(v, type))
        return error_set(e, 0, "%s%s%s is not %s", where, dot(where), key, type_name);
    *out = v;
    return 0;
}

int json_get_object(struct json_object *o, const char *where, const char *key, bool required, struct json_object **out,
                    struct error *e)
{
    struct json_object *v;
    int r = member(o, where, key, json_type_object, "an object", required, &v, e);

    if (r == 0 && v)
        *out = v;
    return r;
}

int json_get_array(struct json_object *o, const char *where, const char *key, bool required, struct json_object **out,
                   struct error *e)
{
    struct json_object *v;
    int r = member(o, where, key, json_type_array, "an array", required, &v, e);

    if (r == 0 && v)
        *out = v;
    return r;
}

static bool has_nul(struct json_object *v)
{
    return strlen(json_object_get_string(v)) != (size_t)json_object_get_string_len(v);
}

int json_get_string(struct json_object *o, const char *where, const char *key, bool required, const char **out, struct error *e)
{
    struct json_object *v;
    int r = member(o, where, key, json_type_string, "a string", required, &v, e);

    if (r < 0 || !v)
        return r;
    if (has_nul(v))
        return error_set(e, 0, "%s%s%s contains a NUL", where, dot(where), key);
    *out = json_object_get_string(v);
    return 0;
}

int json_get_bool(struct json_object *o, const char *where, const char *key, bool *out, struct error *e)
{
    struct json_object *v;
    int r = member(o, where, key, json_type_boolean, "a boolean", false, &v, e);

    if (r == 0 && v)
        *out = json_object_get_boolean(v);
    return r;
}

int json_get_int(struct json_object *o, const char *where, const char *key, int64_t min, int64_t max, int64_t *out,
                 struct error *e)
{
    struct json_object *v;
    int r = member(o, where, key, json_type_int, "an integer", false, &v, e);

    if (r < 0 || !v)
        return r;
    *out = json_object_get_int64(v);
    if (*out < min || *out > max)
        return error_set(e, 0, "%s%s%s is out of range", where, dot(where), key);
    return 0;
}

int json_get_uint(struct json_object *o, const char *where, const char *key, uint64_t *out, struct error *e)
{
    struct json_object *v;
    int r = member(o, where, key, json_type_int, "an integer", false, &v, e);

    if (r == 0 && v && json_object_get_int64(v) < 0)
        return error_set(e, 0, "%s%s%s is out of range", where, dot(where), key);
    if (r == 0 && v)
        *out = json_object_get_uint64(v);
    return r;
}

int json_get_strings(struct json_object *o, const char *where, const char *key, bool required, const char ***out,
                     struct error *e)
{
    struct json_object *v;
    const char **list;
    size_t n;
    int r = member(o, where, key, json_type_array, "an array of strings", required, &v, e);

    if (r < 0 || !v)
        return r;
    n = json_object_array_length(v);
    list = calloc(n + 1, sizeof(*list));
    if (!list)
        return error_set(e, ENOMEM, "%s%s%s", where, dot(where), key);
    for (size_t i = 0; i < n; i++) {
        struct json_object *s = json_object_array_get_idx(v, i);
        if (!json_object_is_type(s, json_type_string) || has_nul(s)) {
            free(list);
            return error_set(e, 0, "%s%s%s[%zu] %s", where, dot(where), key, i,
                             json_object_is_type(s, json_type_string) ? "contains a NUL" : "is not a string");
        }
        list[i] = json_object_get_string(s);
    }
    *out = list;
    return 0;
}

/* The text with a NUL behind it, in memory of the caller's, and its length. */
static int read_all(int fd, char **out)
{
    size_t size = 16384, got = 0;
    char *buf = malloc(size), *more;

    for (;;) {
        ssize_t n;

        if (!buf)
            return -ENOMEM;
        n = read(fd, buf + got, size - 1 - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || got + (size_t)n > MAX_FILE) {
            *out = buf;
            buf[got] = '\0';
            return n == 0 ? (int)got : n < 0 ? -errno : -EFBIG;
        }
        got += (size_t)n;
        if (got < size - 1)
            continue;
        size *= 2;
        more = realloc(buf, size);
        if (!more)
            free(buf);
        buf = more;
    }
}

static int parse(const char *text, int len, const char *name, struct json_object **out, struct error *e)
{
    struct json_tokener *tok = json_tokener_new_ex(MAX_DEPTH);
    struct json_object *doc;
    int r = 0;

    if (!tok)
        return error_set(e, ENOMEM, "%s", name);
    json_tokener_set_flags(tok, JSON_TOKENER_VALIDATE_UTF8);
    doc = json_tokener_parse_ex(tok, text, len + 1);
    if (!doc) {
        enum json_tokener_error je = json_tokener_get_error(tok);
        r = error_set(e, 0, "%s is not JSON: %s at byte %zu", name,
                      je == json_tokener_continue ? "unexpected end" : json_tokener_error_desc(je),
                      json_tokener_get_parse_end(tok));
    } else if (!json_object_is_type(doc, json_type_object)) {
        json_object_put(doc);
        r = error_set(e, 0, "%s is not a JSON object", name);
    } else {
        *out = doc;
    }
    json_tokener_free(tok);
    return r;
}

int json_load_fd(int fd, const char *name, struct json_object **out, struct error *e)
{
    char *text = NULL;
    int n = read_all(fd, &text), r;

    r = n < 0 ? error_set(e, -n, "%s", name) : parse(text, n, name, out, e);
    free(text);
    return r;
}

int json_load(int dir_fd, const char *name, struct json_object **out, struct error *e)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK), r;
    struct stat st;

    if (fd < 0)
        return error_set(e, errno, "%s", name);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        r = error_set(e, 0, "%s is not a file", name);
    else
        r = json_load_fd(fd, name, out, e);
    close(fd);
    return r;
}
