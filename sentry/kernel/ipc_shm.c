/*
 * System V shared memory.
 *
 * A segment's pages come from the memory file, in chunks that are allocated when first touched. Each shmat(2) makes an open
 * file of its own on the segment's inode and maps it; address spaces that inherit the mapping hold references on that file. So
 * the number of attaches is the sum of the references on a segment's files, and the last unmapping of one, however it comes
 * about, releases it. A segment that was removed goes with its last attach.
 */
#include "sentry/kernel/ipc_shm.h"

#include "lib/memfile.h"
#include "sentry/kernel/ipc_internal.h"
#include "sentry/mm/mm.h"
#include "vfs/file.h"
#include "vfs/inode.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/shm.h>

#define SHM_CHUNK (64 * 1024ULL)
#ifndef SHM_STAT_ANY
#define SHM_STAT_ANY 15
#endif

struct shm_segment {
    struct ipc_perm_k perm; /* first: the table's pointers are to it */
    struct ipc_namespace *ns;
    uint64_t size;       /* as asked for */
    uint64_t pages;      /* immutable, like size and inode */
    struct inode *inode; /* referenced */
    /* Guarded by ns->shm.lock. */
    struct list_head files; /* of shm_file */
    int64_t atime, dtime, ctime;
    pid_t cpid, lpid;
    struct mutex lock;  /* guards chunks */
    uint64_t *chunks;   /* memory-file offset + 1 of each; 0: not touched yet */
    uint64_t nr_filled; /* chunks that are */
};

/* One shmat(2)'s file: file->priv. */
struct shm_file {
    struct list_head node; /* in segment->files; ns->shm.lock */
    struct shm_segment *seg;
    struct file *file;
};

static uint64_t nr_chunks(const struct shm_segment *seg)
{
    return (seg->pages * GUEST_PAGE_SIZE + SHM_CHUNK - 1) / SHM_CHUNK;
}

static void segment_free(struct shm_segment *seg)
{
    for (uint64_t i = 0; seg->chunks && seg->nr_filled && i < nr_chunks(seg); i++) {
        if (!seg->chunks[i])
            continue;
        memfile_put(seg->ns->k->memfile, seg->chunks[i] - 1, SHM_CHUNK);
        seg->nr_filled--;
    }
    free(seg->chunks);
    if (seg->inode)
        inode_put(seg->inode);
    mutex_fini(&seg->lock);
    free(seg);
}

static unsigned int nr_attaches(const struct shm_segment *seg)
{
    struct shm_file *sf;
    unsigned int n = 0;

    list_for_each_entry(sf, &seg->files, node)
        n += ref_read(&sf->file->ref);
    return n;
}

/* shm.lock held. True: the caller frees it after unlocking. */
static bool segment_unlink_if_unused(struct shm_segment *seg)
{
    if (!(seg->perm.mode & SHM_DEST) || !list_empty(&seg->files))
        return false;
    ipc_remove(&seg->ns->shm, &seg->perm);
    seg->ns->shm_pages -= seg->pages;
    return true;
}

static int shm_file_map_extent(struct file *f, uint64_t off, uint64_t len, int access, struct mmap_extent *out)
{
    struct shm_segment *seg = ((struct shm_file *)f->priv)->seg;
    struct memfile *mf = seg->ns->k->memfile;
    uint64_t end = seg->pages * GUEST_PAGE_SIZE, i = off / SHM_CHUNK, in_chunk = off % SHM_CHUNK, base;
    int err = 0;

    if (off >= end)
        return -ENXIO;
    if (len > end - off)
        len = end - off;
    if (len > SHM_CHUNK - in_chunk)
        len = SHM_CHUNK - in_chunk;
    mutex_lock(&seg->lock);
    if (!seg->chunks[i]) {
        err = memfile_alloc(mf, SHM_CHUNK, MEMFILE_ZERO, &base);
        if (!err) {
            seg->chunks[i] = base + 1;
            seg->nr_filled++;
        }
    }
    base = seg->chunks[i] - 1;
    mutex_unlock(&seg->lock);
    if (err)
        return err;
    memfile_get(mf, base + in_chunk, len);
    *out = (struct mmap_extent){.fd = memfile_fd(mf), .offset = base + in_chunk, .len = len, .mf = mf};
    return 0;
}

static int shm_file_mmap(struct file *f, int prot, bool shared, uint64_t off, uint64_t len)
{
    return 0;
}

static void shm_file_release(struct file *f)
{
    struct shm_file *sf = f->priv;
    struct shm_segment *seg = sf->seg;
    struct ipc_namespace *ns = seg->ns;
    bool unused;

    mutex_lock(&ns->shm.lock);
    list_del_init(&sf->node);
    seg->dtime = ipc_now();
    unused = segment_unlink_if_unused(seg);
    mutex_unlock(&ns->shm.lock);
    free(sf);
    if (unused)
        segment_free(seg);
}

static const struct file_ops shm_file_ops = {
    .mmap = shm_file_mmap,
    .map_extent = shm_file_map_extent,
    .release = shm_file_release,
};

static const struct inode_ops shm_inode_ops;
static const struct super_ops shm_super_ops;

int shm_init(struct ipc_namespace *ns)
{
    int err = super_create("tmpfs", &shm_super_ops, TMPFS_MAGIC, &ns->shm_sb);

    if (!err)
        ns->shm_sb->flags = SB_KERNEL;
    return err;
}

void shm_fini(struct ipc_namespace *ns)
{
    for (unsigned int i = 0; i < ns->shm.nr_slots; i++)
        if (ns->shm.slots[i])
            segment_free((struct shm_segment *)ns->shm.slots[i]);
    if (ns->shm_sb)
        super_put(ns->shm_sb);
}

static bool segment_fits(struct ipc_perm_k *perm, size_t size)
{
    return size <= ((struct shm_segment *)perm)->size;
}

/* shm.lock held. The id or -errno. */
static int segment_create(struct ipc_namespace *ns, struct task *t, key_t key, size_t size, int flags)
{
    uint64_t pages = (size + GUEST_PAGE_SIZE - 1) / GUEST_PAGE_SIZE;
    struct shm_segment *seg;
    int id;

    if (size < 1 || size > ipc_tunable_get(ns, IPC_SHMMAX))
        return -EINVAL;
    if (pages * GUEST_PAGE_SIZE < size || ns->shm_pages + pages < pages ||
        ns->shm_pages + pages > ipc_tunable_get(ns, IPC_SHMALL))
        return -ENOSPC;
    if (flags & SHM_HUGETLB || (!(flags & SHM_NORESERVE) && pages * GUEST_PAGE_SIZE > t->k->total_ram))
        return -ENOMEM;
    seg = calloc(1, sizeof(*seg));
    if (!seg)
        return -ENOMEM;
    mutex_init(&seg->lock);
    list_init(&seg->files);
    seg->ns = ns;
    seg->size = size;
    seg->pages = pages;
    seg->ctime = ipc_now();
    seg->cpid = t->tg->tgid;
    seg->chunks = calloc(nr_chunks(seg), sizeof(*seg->chunks));
    seg->inode = inode_create(ns->shm_sb, &shm_inode_ops, 0, S_IFREG | ((mode_t)flags & 0777), t->cred->euid, t->cred->egid);
    id = -ENOMEM;
    if (seg->chunks && seg->inode) {
        atomic_store(&seg->inode->size, (long long)(pages * GUEST_PAGE_SIZE));
        id = ipc_add(&ns->shm, &seg->perm, t, key, flags, ipc_tunable_get(ns, IPC_SHMMNI));
    }
    if (id < 0)
        segment_free(seg);
    else
        ns->shm_pages += pages;
    return id;
}

int64_t shm_get(struct task *t, key_t key, size_t size, int flags)
{
    struct ipc_namespace *ns = t->k->ipc;
    struct ipc_perm_k *perm;
    int64_t ret;

    mutex_lock(&ns->shm.lock);
    ret = ipc_get_check(&ns->shm, t, key, flags, segment_fits, size, &perm);
    if (!ret)
        ret = perm ? perm->id : segment_create(ns, t, key, size, flags);
    mutex_unlock(&ns->shm.lock);
    return ret;
}

/* The attach's file, with one reference: it keeps the segment. */
static int segment_open(struct task *t, int id, int flags, struct file **out)
{
    struct ipc_namespace *ns = t->k->ipc;
    struct shm_file *sf = calloc(1, sizeof(*sf));
    struct shm_segment *seg;
    char name[32];
    int err;

    if (!sf)
        return -ENOMEM;
    list_init(&sf->node);
    mutex_lock(&ns->shm.lock);
    seg = (struct shm_segment *)ipc_find_id(&ns->shm, id);
    err = seg ? ipc_access(t, &seg->perm, flags & SHM_RDONLY ? 0444 : 0666) : -EINVAL;
    if (!err && flags & SHM_EXEC)
        err = ipc_access(t, &seg->perm, 0111);
    if (!err) {
        snprintf(name, sizeof(name), "/SYSV%08x", (unsigned int)seg->perm.key);
        err = file_create_on_inode(inode_get(seg->inode), name, &shm_file_ops, sf, flags & SHM_RDONLY ? O_RDONLY : O_RDWR,
                                   FMODE_READ | (flags & SHM_RDONLY ? 0 : FMODE_WRITE), out);
    }
    if (!err) {
        sf->seg = seg;
        sf->file = *out;
        list_add_tail(&sf->node, &seg->files);
        seg->atime = ipc_now();
        seg->lpid = t->tg->tgid;
    }
    mutex_unlock(&ns->shm.lock);
    if (err)
        free(sf);
    return err;
}

int64_t shm_attach(struct task *t, int id, uint64_t addr, int flags)
{
    int prot = PROT_READ | (flags & SHM_RDONLY ? 0 : PROT_WRITE) | (flags & SHM_EXEC ? PROT_EXEC : 0);
    int map = MAP_SHARED;
    struct mm_limits lim;
    struct file *f;
    int64_t ret;

    if (id < 0)
        return -EINVAL;
    if (addr) {
        if (addr & (SHMLBA - 1)) {
            if (!(flags & SHM_RND))
                return -EINVAL;
            addr &= ~(uint64_t)(SHMLBA - 1);
            if (!addr && flags & SHM_REMAP)
                return -EINVAL;
        }
        map |= flags & SHM_REMAP ? MAP_FIXED : MAP_FIXED_NOREPLACE;
    } else if (flags & SHM_REMAP) {
        return -EINVAL;
    }
    ret = segment_open(t, id, flags, &f);
    if (ret)
        return ret;
    task_mm_limits(t, &lim);
    ret = mm_mmap(t->mm, &lim, addr, (uint64_t)atomic_load(&f->inode->size), prot, map, f, 0);
    file_put(f);
    return ret == -EEXIST ? -EINVAL : ret;
}

int64_t shm_detach(struct task *t, uint64_t addr)
{
    struct mm_vma_info vma;
    struct file *attached = NULL;
    struct shm_segment *seg;
    uint64_t end = 0;
    int64_t ret = -EINVAL;

    if (addr & (GUEST_PAGE_SIZE - 1))
        return -EINVAL;
    /* The attach that would begin at `addr`; parts of it may have been unmapped. Then all that is left of it. */
    for (uint64_t at = addr; mm_next_vma(t->mm, at, &vma) && (!end || vma.start < end); at = vma.end) {
        bool hit = vma.file && vma.file->ops == &shm_file_ops && vma.start >= addr && vma.start - addr == vma.offset &&
                   (!attached || vma.file == attached);

        if (hit) {
            if (!attached) {
                attached = file_get(vma.file);
                end = addr + (uint64_t)atomic_load(&attached->inode->size);
            }
            ret = mm_munmap(t->mm, vma.start, vma.end - vma.start);
        }
        if (vma.file)
            file_put(vma.file);
        if (ret < 0 && attached)
            break;
    }
    if (!attached)
        return -EINVAL;
    seg = ((struct shm_file *)attached->priv)->seg;
    mutex_lock(&seg->ns->shm.lock);
    seg->dtime = ipc_now();
    seg->lpid = t->tg->tgid;
    mutex_unlock(&seg->ns->shm.lock);
    file_put(attached);
    return ret;
}

static void segment_stat(const struct shm_segment *seg, struct shmid_ds *ds)
{
    *ds = (struct shmid_ds){
        .shm_segsz = seg->size,
        .shm_atime = seg->atime,
        .shm_dtime = seg->dtime,
        .shm_ctime = seg->ctime,
        .shm_cpid = seg->cpid,
        .shm_lpid = seg->lpid,
        .shm_nattch = nr_attaches(seg),
    };
    ipc_perm_out(&seg->perm, &ds->shm_perm);
}

static int64_t shm_ipc_info(struct task *t, guest_addr buf)
{
    struct ipc_namespace *ns = t->k->ipc;
    const struct shminfo info = {
        .shmmax = ipc_tunable_get(ns, IPC_SHMMAX),
        .shmmin = 1,
        .shmmni = ipc_tunable_get(ns, IPC_SHMMNI),
        .shmseg = ipc_tunable_get(ns, IPC_SHMMNI),
        .shmall = ipc_tunable_get(ns, IPC_SHMALL),
    };
    int max, err = copy_out(t, buf, &info, sizeof(info));

    mutex_lock(&ns->shm.lock);
    max = ipc_max_idx(&ns->shm);
    mutex_unlock(&ns->shm.lock);
    return err ? err : max < 0 ? 0 : max;
}

static uint64_t segment_rss_pages(const struct shm_segment *seg)
{
    uint64_t pages = __atomic_load_n(&seg->nr_filled, __ATOMIC_RELAXED) * (SHM_CHUNK / GUEST_PAGE_SIZE);

    return pages < seg->pages ? pages : seg->pages;
}

static int64_t shm_shm_info(struct task *t, guest_addr buf)
{
    struct ipc_namespace *ns = t->k->ipc;
    struct shm_info info = {0};
    int max, err;

    mutex_lock(&ns->shm.lock);
    info.used_ids = (int)ns->shm.in_use;
    info.shm_tot = ns->shm_pages;
    for (unsigned int i = 0; i < ns->shm.nr_slots; i++)
        if (ns->shm.slots[i])
            info.shm_rss += segment_rss_pages((struct shm_segment *)ns->shm.slots[i]);
    max = ipc_max_idx(&ns->shm);
    mutex_unlock(&ns->shm.lock);
    err = copy_out(t, buf, &info, sizeof(info));
    return err ? err : max < 0 ? 0 : max;
}

static int64_t shm_stat(struct task *t, int id, int cmd, guest_addr buf)
{
    struct ipc_namespace *ns = t->k->ipc;
    struct shm_segment *seg;
    struct shmid_ds ds;
    int64_t ret = -EINVAL;

    mutex_lock(&ns->shm.lock);
    seg = (struct shm_segment *)(cmd == IPC_STAT ? ipc_find_id(&ns->shm, id) : ipc_at(&ns->shm, id));
    if (seg) {
        ret = cmd == SHM_STAT_ANY ? 0 : ipc_access(t, &seg->perm, 0444);
        if (!ret) {
            segment_stat(seg, &ds);
            ret = cmd == IPC_STAT ? 0 : seg->perm.id;
        }
    }
    mutex_unlock(&ns->shm.lock);
    if (ret >= 0 && copy_out(t, buf, &ds, sizeof(ds)))
        ret = -EFAULT;
    return ret;
}

static int64_t shm_lock_control(struct task *t, struct shm_segment *seg, int cmd)
{
    if (!cred_has_cap(t->cred, CAP_IPC_LOCK)) {
        if (t->cred->euid != seg->perm.uid && t->cred->euid != seg->perm.cuid)
            return -EPERM;
        if (cmd == SHM_LOCK && task_rlimit(t, RLIMIT_MEMLOCK) == 0)
            return -EPERM;
    }
    /* The memory file is never swapped by us; the flag is what can be seen. */
    if (cmd == SHM_LOCK)
        seg->perm.mode |= SHM_LOCKED;
    else
        seg->perm.mode &= ~(unsigned int)SHM_LOCKED;
    return 0;
}

int64_t shm_control(struct task *t, int id, int cmd, guest_addr buf)
{
    struct ipc_namespace *ns = t->k->ipc;
    struct shm_segment *seg;
    struct shmid_ds ds;
    bool unused = false;
    int64_t ret;

    if (id < 0 || cmd < 0)
        return -EINVAL;
    switch (cmd) {
    case IPC_INFO:
        return shm_ipc_info(t, buf);
    case SHM_INFO:
        return shm_shm_info(t, buf);
    case IPC_STAT:
    case SHM_STAT:
    case SHM_STAT_ANY:
        return shm_stat(t, id, cmd, buf);
    case IPC_SET:
        ret = copy_in(t, &ds, buf, sizeof(ds));
        if (ret)
            return ret;
        break;
    case IPC_RMID:
    case SHM_LOCK:
    case SHM_UNLOCK:
        break;
    default:
        return -EINVAL;
    }
    mutex_lock(&ns->shm.lock);
    seg = (struct shm_segment *)ipc_find_id(&ns->shm, id);
    if (!seg) {
        ret = -EINVAL;
    } else if (cmd == SHM_LOCK || cmd == SHM_UNLOCK) {
        ret = shm_lock_control(t, seg, cmd);
    } else if (!ipc_may_control(t, &seg->perm)) {
        ret = -EPERM;
    } else if (cmd == IPC_SET) {
        ret = ipc_perm_set(&seg->perm, &ds.shm_perm);
        if (!ret)
            seg->ctime = ipc_now();
    } else {
        ret = 0;
        seg->perm.mode |= SHM_DEST;
        seg->perm.key = IPC_PRIVATE; /* nobody else finds it */
        unused = segment_unlink_if_unused(seg);
    }
    mutex_unlock(&ns->shm.lock);
    if (unused)
        segment_free(seg);
    return ret;
}

char *ipc_show_shm(struct ipc_namespace *ns, size_t *len)
{
    struct ipc_text text = {0};

    ipc_text_add(
        &text,
        "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime"
        "      ctime                   rss                  swap\n");
    mutex_lock(&ns->shm.lock);
    for (unsigned int i = 0; i < ns->shm.nr_slots; i++) {
        struct shm_segment *seg = (struct shm_segment *)ns->shm.slots[i];

        if (!seg)
            continue;
        ipc_text_add(&text, "%10d %10d  %4o %21llu %5u %5u  %5u %5u %5u %5u %5u %10llu %10llu %10llu %21llu %21llu\n",
                     seg->perm.key, seg->perm.id, seg->perm.mode, (unsigned long long)seg->size, seg->cpid, seg->lpid,
                     nr_attaches(seg), seg->perm.uid, seg->perm.gid, seg->perm.cuid, seg->perm.cgid,
                     (unsigned long long)seg->atime, (unsigned long long)seg->dtime, (unsigned long long)seg->ctime,
                     (unsigned long long)(segment_rss_pages(seg) * GUEST_PAGE_SIZE), 0ULL);
    }
    mutex_unlock(&ns->shm.lock);
    return ipc_text_take(&text, len);
}
