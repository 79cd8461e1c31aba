/* linux.uidMappings and gidMappings, which count where linux.namespaces has one of type user. */
#include "cmd/runsc-c/oci/bundle.h"
#include "cmd/runsc-c/oci/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int oci_parse_idmap(struct json_object *o, const char *where, const char *key, const struct spec_idmap **out, size_t *nr,
                    struct error *e)
{
    struct json_object *list = NULL;
    struct spec_idmap *map;
    int r = json_get_array(o, where, key, false, &list, e);
    size_t n;

    if (r < 0 || !list)
        return r;
    n = json_object_array_length(list);
    map = calloc(n + 1, sizeof(*map));
    if (!map)
        return error_set(e, ENOMEM, "%s.%s", where, key);
    for (size_t i = 0; r == 0 && i < n; i++) {
        struct json_object *m = json_object_array_get_idx(list, i);
        int64_t inside = 0, outside = 0, size = 0;

        if ((r = json_get_int(m, key, "containerID", 0, UINT32_MAX, &inside, e)) == 0 &&
            (r = json_get_int(m, key, "hostID", 0, UINT32_MAX, &outside, e)) == 0)
            r = json_get_int(m, key, "size", 1, UINT32_MAX, &size, e);
        map[i] = (struct spec_idmap){(uint32_t)inside, (uint32_t)outside, (uint32_t)size};
        if (r == 0 && size == 0)
            r = error_set(e, 0, "%s.%s: a range without a size", where, key);
    }
    *out = map;
    *nr = n;
    return r;
}

static int has_user_namespace(struct json_object *o, bool *found, struct error *e)
{
    struct json_object *list = NULL;
    int r = json_get_array(o, "linux", "namespaces", false, &list, e);

    for (size_t i = 0; r == 0 && list && i < json_object_array_length(list); i++) {
        const char *type = NULL;

        r = json_get_string(json_object_array_get_idx(list, i), "linux.namespaces", "type", true, &type, e);
        *found |= r == 0 && strcmp(type, "user") == 0;
    }
    return r;
}

int oci_parse_user_namespace(struct container_spec *s, struct json_object *o, struct error *e)
{
    bool found = false;
    int r = has_user_namespace(o, &found, e);

    /* One that is given by its path has its map already. */
    if (r < 0 || !found || s->nr_uid_maps)
        return r;
    if ((r = oci_parse_idmap(o, "linux", "uidMappings", &s->uid_maps, &s->nr_uid_maps, e)) < 0)
        return r;
    return oci_parse_idmap(o, "linux", "gidMappings", &s->gid_maps, &s->nr_gid_maps, e);
}
