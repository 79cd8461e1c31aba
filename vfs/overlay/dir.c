/*
 * Reading merged directories. Where several layers have one, their entries are collected when the guest begins to read: a name
 * counts in the topmost layer that has it, and not at all if that says whiteout. The list belongs to the open file, so that
 * positions stay good while it is read; rewinding collects again.
 */
#include "vfs/overlay/overlay_internal.h"

#include "vfs/file_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    uint64_t ino;
    uint32_t next; /* in the hash chain, + 1 */
    uint32_t name; /* offset in `names` */
    uint8_t type, layer;
    bool whiteout;
};

struct listing {
    struct entry *entries;
    char *names;
    uint32_t *hash; /* first entry + 1 */
    size_t n, cap, names_len, names_cap, hash_size;
};

struct ovl_dir {
    bool valid;
    struct listing list;
};

static void listing_fini(struct listing *l)
{
    free(l->entries);
    free(l->names);
    free(l->hash);
    *l = (struct listing){0};
}

static uint32_t hash_name(const char *name, size_t len)
{
    uint32_t h = 2166136261U;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (uint8_t)name[i]) * 16777619U;
    return h;
}

static bool rehash(struct listing *l)
{
    size_t size = l->hash_size ? l->hash_size * 4 : 64;
    uint32_t *hash = calloc(size, sizeof(*hash));
    if (!hash)
        return false;
    free(l->hash);
    l->hash = hash;
    l->hash_size = size;
    for (size_t i = 0; i < l->n; i++) {
        const char *name = l->names + l->entries[i].name;
        uint32_t *b = &hash[hash_name(name, strlen(name)) & (size - 1)];
        l->entries[i].next = *b;
        *b = (uint32_t)i + 1;
    }
    return true;
}

static struct entry *find(struct listing *l, const char *name, size_t len)
{
    if (!l->hash)
        return NULL;
    for (uint32_t i = l->hash[hash_name(name, len) & (l->hash_size - 1)]; i; i = l->entries[i - 1].next)
        if (strcmp(l->names + l->entries[i - 1].name, name) == 0)
            return &l->entries[i - 1];
    return NULL;
}

static bool add(struct listing *l, const char *name, size_t len, uint64_t ino, unsigned int type, unsigned int layer)
{
    if (l->n >= 2 * l->hash_size && !rehash(l))
        return false;
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 32;
        struct entry *grown = realloc(l->entries, cap * sizeof(*grown));
        if (!grown)
            return false;
        l->entries = grown;
        l->cap = cap;
    }
    if (l->names_len + len + 1 > l->names_cap) {
        size_t cap = l->names_cap ? 2 * l->names_cap : 1024;
        char *grown = realloc(l->names, cap);
        if (!grown)
            return false;
        l->names = grown;
        l->names_cap = cap;
    }
    memcpy(l->names + l->names_len, name, len);
    l->names[l->names_len + len] = 0;
    uint32_t *b = &l->hash[hash_name(name, len) & (l->hash_size - 1)];
    l->entries[l->n] = (struct entry){
        .ino = ino, .next = *b, .name = (uint32_t)l->names_len, .type = (uint8_t)type, .layer = (uint8_t)(layer != 0)};
    *b = (uint32_t)++l->n;
    l->names_len += len + 1;
    return true;
}

struct collect {
    struct dir_context dc;
    struct listing *l;
    struct dentry *dir; /* the real one being read */
    const struct ovl_super *os;
    unsigned int layer;
    bool failed;
};

static bool entry_is_whiteout(struct dentry *dir, const char *name, size_t len)
{
    struct dentry *d;
    if (dentry_lookup(dir, name, len, &d) < 0)
        return false;
    bool is = d->inode && ovl_is_whiteout(d->inode);
    dentry_put(d);
    return is;
}

static uint64_t layer_ino(const struct ovl_super *os, const struct dentry *dir, uint64_t ino)
{
    if (dir->sb == os->upper)
        return ino | 1ULL << 62;
    for (unsigned int i = 0; i < os->nr_lower; i++)
        if (dir->sb == os->lower[i])
            return ino | (uint64_t)i << 48;
    return ino;
}

static bool collect_one(struct dir_context *dc, const char *name, size_t len, uint64_t ino, unsigned int type, loff_t next)
{
    struct collect *c = container_of(dc, struct collect, dc);
    struct entry *e;

    if ((len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.'))
        return true;
    e = find(c->l, name, len);
    if (e) {
        /* Copied up, or a merged directory: the number is the lower one's. */
        if (!e->whiteout && e->layer == 0 && c->layer > 0 && (e->type == DT_DIR) == (type == DT_DIR)) {
            e->ino = layer_ino(c->os, c->dir, ino);
            e->layer = 1;
        }
        return true;
    }
    if (!add(c->l, name, len, layer_ino(c->os, c->dir, ino), type, c->layer)) {
        c->failed = true;
        return false;
    }
    /* Real whiteouts are found out afterwards: asking needs the directory's lock, which its filesystem may be holding now. */
    return true;
}

/* Reads one layer's directory into the list. */
static int collect_layer(const struct ovl_super *os, struct dentry *dir, unsigned int layer, struct listing *l,
                         const struct vfs_caller *c)
{
    struct collect col = {.dc = {.emit = collect_one}, .l = l, .dir = dir, .os = os, .layer = layer};
    struct file *f;
    size_t first = l->n;

    int err = dop_open(dir, O_RDONLY | O_DIRECTORY, FMODE_READ | FMODE_LSEEK, c, &f);
    if (err < 0)
        return err;
    err = f->ops->iterate ? f->ops->iterate(f, c, &col.dc) : -ENOTDIR;
    file_put(f);
    if (err == 0 && col.failed)
        err = -ENOMEM;
    for (size_t i = first; err == 0 && i < l->n; i++) {
        const char *name = l->names + l->entries[i].name;
        if (l->entries[i].type == DT_CHR || l->entries[i].type == DT_UNKNOWN)
            l->entries[i].whiteout = entry_is_whiteout(dir, name, strlen(name));
    }
    return err;
}

static int collect_all(struct inode *dir, struct listing *l, const struct vfs_caller *c)
{
    struct ovl_inode *oi = ovl_i(dir);
    struct ovl_super *os = ovl_sb(dir->sb);
    struct dentry *upper = ovl_upper(dir);
    int err = 0;

    listing_fini(l);
    if (upper)
        err = collect_layer(os, upper, 0, l, c);
    for (unsigned int i = 0; err == 0 && i < oi->nr_lower; i++)
        err = collect_layer(os, oi->lower[i], i + 1, l, c);
    return err;
}

int ovl_check_empty(struct inode *dir, bool clean)
{
    struct listing l = {0};
    struct ovl_super *os = ovl_sb(dir->sb);
    struct dentry *upper = ovl_upper(dir);
    int err = collect_all(dir, &l, &os->caller);

    for (size_t i = 0; err == 0 && i < l.n; i++)
        if (!l.entries[i].whiteout)
            err = -ENOTEMPTY;
    for (size_t i = 0; err == 0 && clean && upper && i < l.n; i++) {
        int r = dop_remove(upper, l.names + l.entries[i].name);
        if (r < 0 && r != -ENOENT) /* a whiteout of a lower layer */
            err = r;
    }
    listing_fini(&l);
    return err;
}

/* ".." of an overlay's root is its own business, so the dots are made here. */
static bool emit_dots(struct file *f, struct dir_context *dc)
{
    if (dc->pos == 0) {
        if (!dc->emit(dc, ".", 1, f->inode->ino, DT_DIR, 1))
            return false;
        dc->pos = 1;
    }
    if (dc->pos == 1) {
        struct dentry *parent = dentry_get_parent(f->path.dentry);
        bool ok = dc->emit(dc, "..", 2, parent->inode->ino, DT_DIR, 2);
        dentry_put(parent);
        if (!ok)
            return false;
        dc->pos = 2;
    }
    return true;
}

static int ovl_iterate(struct file *f, const struct vfs_caller *c, struct dir_context *dc)
{
    struct ovl_dir *od = f->priv;
    struct listing *l = &od->list;

    if (dc->pos == 0)
        od->valid = false;
    if (!emit_dots(f, dc))
        return 0;
    if (!od->valid) {
        int err = collect_all(f->inode, l, c);
        if (err < 0)
            return err;
        od->valid = true;
    }
    for (size_t i = (size_t)dc->pos - 2; i < l->n; i++) {
        const struct entry *e = &l->entries[i];
        const char *name = l->names + e->name;
        if (!e->whiteout && !dc->emit(dc, name, strlen(name), e->ino, e->type, (loff_t)i + 3))
            return 0;
        dc->pos = (loff_t)i + 3;
    }
    return 0;
}

static loff_t ovl_dir_llseek(struct file *f, loff_t off, int whence) NO_THREAD_SAFETY_ANALYSIS
{
    if (whence == SEEK_CUR)
        off += f->pos;
    else if (whence != SEEK_SET)
        return -EINVAL;
    return file_set_pos(f, off);
}

static int ovl_dir_fsync(struct file *f, bool datasync)
{
    return 0;
}

static void ovl_dir_release(struct file *f)
{
    struct ovl_dir *od = f->priv;
    listing_fini(&od->list);
    free(od);
}

static const struct file_ops ovl_dir_ops = {
    .iterate = ovl_iterate,
    .llseek = ovl_dir_llseek,
    .fsync = ovl_dir_fsync,
    .release = ovl_dir_release,
};

int ovl_dir_open(struct inode *inode, struct file *f, const struct vfs_caller *c)
{
    f->priv = calloc(1, sizeof(struct ovl_dir));
    if (!f->priv)
        return -ENOMEM;
    f->ops = &ovl_dir_ops;
    return 0;
}
