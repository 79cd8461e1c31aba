/* ioctl(PROCMAP_QUERY) on /proc/PID/maps, of Linux 6.11: one mapping by address, without parsing text. */
#include "sentry/fs/proc/proc.h"

#include "sentry/mm/mm.h"
#include "vfs/fs_struct.h"
#include "vfs/mount.h"
#include "vfs/namei.h"

#include <errno.h>
#include <limits.h>
#include <linux/ioctl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

struct procmap_query {
    uint64_t size, query_flags, query_addr, vma_start, vma_end, vma_flags, vma_page_size, vma_offset, inode;
    uint32_t dev_major, dev_minor, vma_name_size, build_id_size;
    uint64_t vma_name_addr, build_id_addr;
};

#define PROCMAP_QUERY _IOWR('f', 17, struct procmap_query)

enum {
    QUERY_READABLE = 1,
    QUERY_WRITABLE = 2,
    QUERY_EXECUTABLE = 4,
    QUERY_SHARED = 8,
    QUERY_COVERING_OR_NEXT = 16,
    QUERY_FILE_BACKED = 32,
    QUERY_ALL = 63
};

static uint64_t vma_flags(const struct mm_vma_info *v)
{
    return (v->prot & PROT_READ ? QUERY_READABLE : 0) | (v->prot & PROT_WRITE ? QUERY_WRITABLE : 0) |
           (v->prot & PROT_EXEC ? QUERY_EXECUTABLE : 0) | (v->shared ? QUERY_SHARED : 0);
}

/* The mapping that is asked for, with a reference on its file; false: -ENOENT. */
static bool find_vma(struct mm *mm, const struct procmap_query *q, struct mm_vma_info *v)
{
    const uint64_t wanted = q->query_flags & (QUERY_READABLE | QUERY_WRITABLE | QUERY_EXECUTABLE | QUERY_SHARED);
    uint64_t from = q->query_addr;

    while (mm_next_vma(mm, from, v)) {
        bool next = v->start > q->query_addr;
        bool fits = (vma_flags(v) & wanted) == wanted && (v->file || !(q->query_flags & QUERY_FILE_BACKED));

        if (fits && (!next || q->query_flags & QUERY_COVERING_OR_NEXT))
            return true;
        if (v->file)
            file_put(v->file);
        if (!(q->query_flags & QUERY_COVERING_OR_NEXT))
            return false;
        from = v->end;
    }
    return false;
}

/* The name with its NUL; 0 for mappings without one. */
static int copy_name(const struct vfs_caller *c, const struct mm_vma_info *v, struct procmap_query *q)
{
    char name[PATH_MAX] = "";
    struct path root;

    if (v->name[0]) {
        strcpy(name, v->name);
    } else if (v->file) {
        fs_get_root(c->fs, &root);
        if (vfs_path_name(&v->file->path, &root, name, sizeof(name), true) < 0)
            name[0] = 0;
        path_put(&root);
    }
    if (!name[0]) {
        q->vma_name_size = 0;
        return 0;
    }
    if (strlen(name) + 1 > q->vma_name_size)
        return -ENAMETOOLONG;
    q->vma_name_size = strlen(name) + 1;
    return c->uaccess->copy_out(c, guest_addr_of(q->vma_name_addr), name, q->vma_name_size);
}

/* Fetches the structure as copy_struct_from_user() does: a longer one must be zero beyond what we know. */
static int fetch(const struct vfs_caller *c, guest_addr arg, struct procmap_query *q)
{
    unsigned char rest[4096];
    uint64_t size;
    int r = c->uaccess->copy_in(c, &size, arg, sizeof(size));

    if (r)
        return r;
    if (size > sizeof(rest))
        return -E2BIG;
    if (size < offsetof(struct procmap_query, query_addr) + sizeof(q->query_addr))
        return -EINVAL;
    r = c->uaccess->copy_in(c, rest, arg, size);
    if (r)
        return r;
    for (size_t i = sizeof(*q); i < size; i++)
        if (rest[i])
            return -E2BIG;
    memset(q, 0, sizeof(*q));
    memcpy(q, rest, size < sizeof(*q) ? size : sizeof(*q));
    q->size = size; /* as first checked */
    return 0;
}

long proc_pid_maps_ioctl(void *mm, const struct vfs_caller *c, unsigned int cmd, guest_addr arg)
{
    struct procmap_query q;
    struct mm_vma_info v;
    int r;

    if (cmd != PROCMAP_QUERY)
        return -ENOTTY;
    r = fetch(c, arg, &q);
    if (r)
        return r;
    if (q.query_flags & ~(uint64_t)QUERY_ALL || !q.vma_name_size != !q.vma_name_addr || !q.build_id_size != !q.build_id_addr)
        return -EINVAL;
    if (!mm)
        return -ESRCH;
    if (!find_vma(mm, &q, &v))
        return -ENOENT;
    q.vma_start = v.start;
    q.vma_end = v.end;
    q.vma_flags = vma_flags(&v);
    q.vma_page_size = GUEST_PAGE_SIZE;
    q.vma_offset = v.offset;
    q.inode = v.file ? v.file->inode->ino : 0;
    q.dev_major = v.file ? major(v.file->inode->sb->dev) : 0;
    q.dev_minor = v.file ? minor(v.file->inode->sb->dev) : 0;
    q.build_id_size = 0; /* none is known */
    if (q.vma_name_size)
        r = copy_name(c, &v, &q);
    if (v.file)
        file_put(v.file);
    if (r)
        return r;
    return c->uaccess->copy_out(c, arg, &q, q.size < sizeof(q) ? q.size : sizeof(q));
}
