/* memfd_create: an unnamed file in memory. */
#include "sentry/syscalls/sys_fs.h"
#include "vfs/tmpfs/tmpfs.h"

#include <string.h>
#include <sys/mman.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#define MFD_EXEC        16U
#endif
/* NAME_MAX less the "memfd:" that it is shown with. */
#define MEMFD_NAME_MAX 249

int64_t sys_memfd_create(struct task *t, const struct syscall_args *a)
{
    unsigned int flags = arg_uint(a, 1);
    char name[MEMFD_NAME_MAX + 1];
    struct file *f;
    ssize_t n;
    int r;

    if (flags & ~(MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB | MFD_NOEXEC_SEAL | MFD_EXEC |
                  (unsigned int)MAP_HUGE_MASK << MAP_HUGE_SHIFT))
        return -EINVAL;
    if (!(flags & MFD_HUGETLB) && (flags >> MAP_HUGE_SHIFT))
        return -EINVAL;
    if ((flags & MFD_EXEC) && (flags & MFD_NOEXEC_SEAL))
        return -EINVAL;
    n = copy_str_in(t, name, arg_addr(a, 0), sizeof(name));
    if (n < 0)
        return n == -ENAMETOOLONG ? -EINVAL : n;
    if (flags & MFD_HUGETLB)
        return -ENODEV; /* no size of huge pages is supported */
    r = memfd_file_create(t->k->memfile, name, flags, task_caller(t), &f);
    return r ? r : fd_return(t, f, flags & MFD_CLOEXEC);
}
