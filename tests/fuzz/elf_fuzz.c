/* Fuzzes the parsers of executables: the input is the file. */
#include "sentry/loader/elf.h"
#include "sentry/loader/script.h"

#include <stdlib.h>
#include <string.h>

struct input {
    const uint8_t *data;
    size_t size;
};

static ssize_t read_input(void *arg, void *buf, size_t n, uint64_t off)
{
    struct input *in = arg;

    if (off >= in->size)
        return 0;
    if (n > in->size - off)
        n = in->size - off;
    memcpy(buf, in->data + off, n);
    return (ssize_t)n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct elf_image img;
    struct input in = {data, size};
    struct elf_source src = {read_input, &in};
    struct script_line line;

    if (elf_parse(&src, data, size < 4096 ? size : 4096, &img) == 0) {
        /* What the mapping code relies on. */
        if (img.nr_segments == 0 || img.min_vaddr >= img.max_vaddr)
            abort();
        for (unsigned int i = 0; i < img.nr_segments; i++)
            if (img.segment[i].vaddr + img.segment[i].memsz < img.segment[i].vaddr ||
                img.segment[i].filesz > img.segment[i].memsz)
                abort();
    }
    if (script_parse((const char *)data, size, &line) == 0 && line.interp[0] == 0)
        abort();
    return 0;
}
