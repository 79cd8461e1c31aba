/* Typed access to JSON objects with errors that name the place: "process.args: not an array". */
#ifndef CMD_RUNSC_C_OCI_JSON_H
#define CMD_RUNSC_C_OCI_JSON_H

#include "lib/error.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Each looks up `key` in `o` (of JSON path `where`), checks its type and stores it. An absent or null member is an error if
 * `required`, else leaves *out alone. 0 or -EINVAL with *e set.
 */
int must_check json_get_object(struct json_object *o, const char *where, const char *key, bool required,
                               struct json_object **out, struct error *e);
int must_check json_get_array(struct json_object *o, const char *where, const char *key, bool required,
                              struct json_object **out, struct error *e);
/* Strings with an embedded NUL are refused. */
int must_check json_get_string(struct json_object *o, const char *where, const char *key, bool required, const char **out,
                               struct error *e);
int must_check json_get_bool(struct json_object *o, const char *where, const char *key, bool *out, struct error *e);
int must_check json_get_int(struct json_object *o, const char *where, const char *key, int64_t min, int64_t max, int64_t *out,
                            struct error *e);
int must_check json_get_uint(struct json_object *o, const char *where, const char *key, uint64_t *out, struct error *e);
/* A NULL-terminated array of the strings, which live as long as `o`; the array itself is the caller's. */
int must_check json_get_strings(struct json_object *o, const char *where, const char *key, bool required, const char ***out,
                                struct error *e);

/* Reads and parses a file of at most 4 MiB below `dir_fd`, or to the end of what `fd` is. The top level must be an object. */
int must_check json_load_fd(int fd, const char *name, struct json_object **out, struct error *e);
int must_check json_load(int dir_fd, const char *name, struct json_object **out, struct error *e);

#endif
