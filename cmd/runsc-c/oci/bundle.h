/* Reading an OCI bundle: config.json becomes a struct container_spec (sentry/boot/spec.h). */
#ifndef CMD_RUNSC_C_OCI_BUNDLE_H
#define CMD_RUNSC_C_OCI_BUNDLE_H

#include "cmd/runsc-c/cgroup/resources.h"
#include "cmd/runsc-c/hooks.h"
#include "lib/error.h"
#include "sentry/boot/spec.h"

struct json_object;

/*
 * A loaded bundle. The spec's strings live in `doc` and in `memory`; bundles are loaded once per process and never freed.
 * Descriptors in the spec are opened by bundle_open_sources().
 */
struct bundle {
    const char *path; /* absolute */
    int dir_fd;       /* O_PATH */
    struct json_object *doc;
    const char *rootfs; /* absolute path, for `state` */
    struct hooks hooks;
    struct json_object *hooks_doc, *annotations; /* as they stand, for state.json; NULL: none */
    struct resources resources;
    const char *cgroups_path; /* NULL: none is asked for */
    struct container_spec spec;
};

/* Reads and checks `dir`/config.json, and opens the root directory and the sources of bind mounts. 0 or -errno with *e. */
int must_check bundle_load(const char *dir, struct bundle *b, struct error *e);
/* A "process" object alone, from `path` (exec --process). */
int must_check bundle_load_process(const char *path, struct spec_process *out, struct error *e);

/* Capability names: bit number or -1. */
int cap_by_name(const char *name);
const char *cap_name(int cap);
/* RLIMIT_* by name, or -1. */
int rlimit_by_name(const char *name);

/* Internal: parts of the parser, one file each. `where` is the JSON path for messages. */
/* The whole of b->doc, with paths relative to b->dir_fd. */
int must_check oci_parse_config(struct bundle *b, struct error *e);
int must_check oci_parse_process(struct json_object *o, struct spec_process *out, struct error *e);
/* `o` is the "linux" object: all but resources, ids, masks and the root's propagation. */
int must_check oci_parse_linux(struct bundle *b, struct json_object *o, struct error *e);
/* An array of maps of ids. `key` is its name in `o`, of JSON path `where`. */
int must_check oci_parse_idmap(struct json_object *o, const char *where, const char *key, const struct spec_idmap **out,
                               size_t *nr, struct error *e);
int must_check oci_parse_user_namespace(struct container_spec *s, struct json_object *o, struct error *e);
int must_check oci_parse_namespaces(struct json_object *linux_obj, struct container_spec *s, struct error *e);
int must_check oci_parse_seccomp(struct bundle *b, struct json_object *o, struct error *e);
/* To be called when the container's own map of ids is known. */
int must_check oci_parse_mounts(struct bundle *b, struct json_object *o, struct error *e);
/* The names of all options that are not a file system's own, for `features`: NULL behind the last. */
const char *mount_option_name(size_t i);

#endif
