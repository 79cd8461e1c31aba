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
            return error_set(e, 0, "%s%s%s[%zu] is not a string", where, dot(where), key, i);
        }
        list[i] = json_object_get_string(s);
    }
    *out = list;
    return 0;
}

static int read_all(int fd, size_t size, char *buf)
{
    size_t got = 0;

    while (got < size) {
        ssize_t n = read(fd, buf + got, size - got);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            break;
        if (n > 0)
            got += (size_t)n;
    }
    return (int)got;
}

int json_load(int dir_fd, const char *name, struct json_object **out, struct error *e)
{
    struct json_tokener *tok = NULL;
    struct json_object *doc = NULL;
    char *buf = NULL;
    struct stat st;
    int fd, r, n;

    fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_set(e, errno, "%s", name);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        r = error_set(e, 0, "%s is not a file", name);
        goto out;
    }
    if (st.st_size > MAX_FILE) {
        r = error_set(e, EFBIG, "%s", name);
        goto out;
    }
    buf = malloc((size_t)st.st_size + 1);
    tok = json_tokener_new_ex(MAX_DEPTH);
    if (!buf || !tok) {
        r = error_set(e, ENOMEM, "%s", name);
        goto out;
    }
    n = read_all(fd, (size_t)st.st_size, buf);
    if (n < 0) {
        r = error_set(e, -n, "%s", name);
        goto out;
    }
    buf[n] = '\0';
    json_tokener_set_flags(tok, JSON_TOKENER_VALIDATE_UTF8);
    doc = json_tokener_parse_ex(tok, buf, n + 1);
    if (!doc) {
        enum json_tokener_error je = json_tokener_get_error(tok);
        r = error_set(e, 0, "%s is not JSON: %s at byte %zu", name,
                      je == json_tokener_continue ? "unexpected end" : json_tokener_error_desc(je),
                      json_tokener_get_parse_end(tok));
        goto out;
    }
    if (!json_object_is_type(doc, json_type_object)) {
        json_object_put(doc);
        r = error_set(e, 0, "%s is not a JSON object", name);
        goto out;
    }
    *out = doc;
    r = 0;
out:
    if (tok)
        json_tokener_free(tok);
    free(buf);
    close(fd);
    return r;
}
