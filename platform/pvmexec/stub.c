#include "platform/internal.h"
#include <errno.h>
#include <stdio.h>
int pvmexec_stub_create(struct platform **out, char *why, size_t why_len)
{
    snprintf(why, why_len, "not built yet");
    return -ENOSYS;
}
