/* Fuzzes the reader of config.json: the input is the file. What it allocates lives as long as a process, so leaks do not count.
 */
#include "cmd/runsc-c/oci/bundle.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <stdint.h>
#include <unistd.h>

const char *__asan_default_options(void);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bundle b = {.path = "/", .dir_fd = -1, .spec = {.root_fd = -1}};
    struct json_tokener *tok = json_tokener_new_ex(32);
    struct error e;

    b.doc = json_tokener_parse_ex(tok, (const char *)data, (int)size);
    json_tokener_free(tok);
    if (json_object_is_type(b.doc, json_type_object)) {
        b.dir_fd = open("/proc/self/fdinfo", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (oci_parse_config(&b, &e) < 0 && e.text[0] == '\0')
            __builtin_trap();
        for (size_t i = 0; i < b.spec.nr_mounts; i++)
            if (b.spec.mounts[i].source_fd >= 0)
                close(b.spec.mounts[i].source_fd);
        if (b.spec.root_fd >= 0)
            close(b.spec.root_fd);
        close(b.dir_fd);
    }
    json_object_put(b.doc);
    return 0;
}
