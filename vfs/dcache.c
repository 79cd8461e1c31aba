/*
 * The dentry cache: one hash table and one LRU list a superblock.
 *
 * A dentry is found by (parent, name). References keep it; at zero it stays hashed, on the LRU list, until `max_lru` unused
 * ones are there, when the oldest go. A child holds a reference on its parent, so only leaves are ever unused, and dropping the
 * last leaf makes its directory one. The list is lazy: a dentry that is found again stays on it until the shrinker meets it.
 *
 * References above one are dropped without the lock. The last one is dropped under it, because at zero only the lock keeps the
 * shrinker from freeing the dentry: dcache_find(), the one place where a count rises from zero, holds it too.
 */
#include "vfs/dcache.h"

#include "vfs/inotify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define DCACHE_MAX_UNUSED   20000
#define DCACHE_MIN_BUCKETS  64
#define DCACHE_SHRINK_CHUNK 64

/* Short critical sections on few CPUs: spinning a little beats a futex sleep. */
static void adaptive_mutex_init(struct mutex *mu)
{
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
    pthread_mutex_init(&mu->m, &attr);
    pthread_mutexattr_destroy(&attr);
}

struct dcache *dcache_create(void)
{
    struct dcache *dc = calloc(1, sizeof(*dc));
    if (!dc)
        return NULL;
    adaptive_mutex_init(&dc->lock);
    mutex_lock(&dc->lock);
    list_init(&dc->lru);
    dc->buckets = calloc(DCACHE_MIN_BUCKETS, sizeof(*dc->buckets));
    dc->mask = DCACHE_MIN_BUCKETS - 1;
    bool ok = dc->buckets != NULL;
    mutex_unlock(&dc->lock);
    dc->max_lru = DCACHE_MAX_UNUSED;
    if (getrandom(&dc->secret, sizeof(dc->secret), GRND_NONBLOCK) < 0)
        dc->secret = (uintptr_t)dc * 0x9e3779b97f4a7c15ULL;
    if (!ok) {
        dcache_destroy(dc);
        return NULL;
    }
    return dc;
}

void dcache_destroy(struct dcache *dc) NO_THREAD_SAFETY_ANALYSIS /* nobody else has it */
{
    mutex_fini(&dc->lock);
    free(dc->buckets);
    free(dc);
}

uint32_t dcache_hash(const struct dentry *parent, const char *name, size_t len)
{
    uint64_t h = parent->sb->dcache->secret ^ (uintptr_t)parent ^ len << 56;
    while (len >= 8) {
        uint64_t w;
        memcpy(&w, name, 8);
        h = (h ^ w) * 0x9e3779b97f4a7c15ULL;
        h ^= h >> 32;
        name += 8;
        len -= 8;
    }
    if (len > 0) {
        uint64_t w = 0;
        memcpy(&w, name, len);
        h = (h ^ w) * 0x9e3779b97f4a7c15ULL;
        h ^= h >> 32;
    }
    h *= 0xc2b2ae3d27d4eb4fULL;
    return (uint32_t)(h >> 32);
}

struct dentry *dcache_find(struct dentry *parent, const char *name, size_t len, uint32_t hash)
{
    struct dcache *dc = parent->sb->dcache;
    mutex_lock(&dc->lock);
    struct dentry *d = dc->buckets[hash & dc->mask];
    for (; d; d = d->hash_next)
        if (d->hash == hash && d->parent == parent && d->name_len == len && memcmp(d->name, name, len) == 0) {
            ref_get(&d->ref);
            break;
        }
    mutex_unlock(&dc->lock);
    return d;
}

static void hash_insert(struct dcache *dc, struct dentry *d) REQUIRES(&dc->lock)
{
    struct dentry **b = &dc->buckets[d->hash & dc->mask];
    d->hash_next = *b;
    *b = d;
    __atomic_store_n(&d->hashed, true, __ATOMIC_RELAXED);
    dc->nr_hashed++;
}

static void hash_remove(struct dcache *dc, struct dentry *d) REQUIRES(&dc->lock)
{
    if (!d->hashed)
        return;
    struct dentry **p = &dc->buckets[d->hash & dc->mask];
    while (*p != d)
        p = &(*p)->hash_next;
    *p = d->hash_next;
    d->hash_next = NULL;
    __atomic_store_n(&d->hashed, false, __ATOMIC_RELAXED);
    dc->nr_hashed--;
}

static void maybe_grow(struct dcache *dc) REQUIRES(&dc->lock)
{
    if (dc->nr_hashed <= 2 * dc->mask)
        return;
    unsigned int n = 4 * (dc->mask + 1);
    struct dentry **grown = calloc(n, sizeof(*grown));
    if (!grown)
        return; /* longer chains will do */
    for (unsigned int i = 0; i <= dc->mask; i++)
        for (struct dentry *d = dc->buckets[i], *next; d; d = next) {
            next = d->hash_next;
            d->hash_next = grown[d->hash & (n - 1)];
            grown[d->hash & (n - 1)] = d;
        }
    free(dc->buckets);
    dc->buckets = grown;
    dc->mask = n - 1;
}

static bool set_name(struct dentry *d, const char *name, size_t len)
{
    d->name = d->short_name;
    if (len >= sizeof(d->short_name) && !(d->name = malloc(len + 1)))
        return false;
    memcpy(d->name, name, len);
    d->name[len] = 0;
    d->name_len = (unsigned int)len;
    return true;
}

struct dentry *dentry_alloc(struct super_block *sb, struct dentry *parent, const char *name, size_t len)
{
    struct dentry *d = calloc(1, sizeof(*d));
    if (!d)
        return NULL;
    if (!set_name(d, name, len)) {
        free(d);
        return NULL;
    }
    ref_init(&d->ref);
    d->sb = sb;
    list_init(&d->child);
    list_init(&d->children);
    list_init(&d->lru);
    d->next_cookie = 2; /* 0 and 1 are "." and ".." */
    d->parent = parent ? dentry_get(parent) : d;
    return d;
}

struct dentry *dentry_create_detached(struct super_block *sb, const char *name, struct inode *inode)
{
    struct dentry *d = dentry_alloc(sb, NULL, name, strlen(name));
    if (d)
        d->inode = inode;
    else
        inode_put(inode);
    return d;
}

struct dentry *dentry_create_root(struct inode *inode)
{
    return dentry_create_detached(inode->sb, "/", inode);
}

void dentry_add(struct dentry *d)
{
    struct dcache *dc = d->sb->dcache;
    uint32_t hash = dcache_hash(d->parent, d->name, d->name_len);
    mutex_lock(&dc->lock);
    if (!d->hashed) {
        d->hash = hash;
        maybe_grow(dc);
        hash_insert(dc, d);
        if (list_empty(&d->child)) {
            d->cookie = d->parent->next_cookie++;
            list_add_tail(&d->child, &d->parent->children);
        }
    }
    mutex_unlock(&dc->lock);
}

void dentry_instantiate(struct dentry *d, struct inode *inode)
{
    __atomic_store_n(&d->inode, inode, __ATOMIC_RELEASE);
}

static void free_dentry(struct dentry *d)
{
    if (d->inode) {
        if (unlikely(atomic_load_explicit(&d->sb->nr_watches, memory_order_relaxed) > 0) && atomic_load(&d->inode->nlink) == 0)
            inotify_inode_deleted(d->inode); /* watches keep the inode, so this is where its deletion shows */
        inode_put(d->inode);
    }
    if (d->name != d->short_name)
        free(d->name);
    free(d);
}

/* Unlinks an unused dentry and chains it to `dead` through hash_next. Returns the parent to put next, or NULL. */
static struct dentry *kill_locked(struct dcache *dc, struct dentry *d, struct dentry **dead) REQUIRES(&dc->lock)
{
    struct dentry *parent = d->parent == d ? NULL : d->parent;
    hash_remove(dc, d);
    list_del_init(&d->child);
    if (!list_empty(&d->lru)) {
        list_del_init(&d->lru);
        dc->nr_lru--;
    }
    d->hash_next = *dead;
    *dead = d;
    return parent;
}

/* Drops one reference of `d`; kills it and then maybe its ancestors. */
static void put_locked(struct dcache *dc, struct dentry *d, struct dentry **dead) REQUIRES(&dc->lock)
{
    while (d && ref_put(&d->ref)) {
        if (d->hashed && !dc->dying) {
            if (list_empty(&d->lru))
                dc->nr_lru++;
            else
                list_del_init(&d->lru);
            list_add_tail(&d->lru, &dc->lru);
            return;
        }
        d = kill_locked(dc, d, dead);
    }
}

/* Children were killed before their parents, and must be freed so: a filesystem's inode may lean on its directory's. */
static void free_dead(struct dentry *dead)
{
    struct dentry *oldest = NULL;
    for (struct dentry *next; dead; dead = next) {
        next = dead->hash_next;
        dead->hash_next = oldest;
        oldest = dead;
    }
    for (struct dentry *next; oldest; oldest = next) {
        next = oldest->hash_next;
        free_dentry(oldest);
    }
}

/* Brings the LRU list down to `target`; `max` bounds the time the lock is held. */
static void shrink_locked(struct dcache *dc, unsigned int target, unsigned int max, struct dentry **dead) REQUIRES(&dc->lock)
{
    while (dc->nr_lru > target && max-- > 0) {
        struct dentry *d = list_first_entry(&dc->lru, struct dentry, lru);
        list_del_init(&d->lru);
        dc->nr_lru--;
        if (ref_read(&d->ref) == 0)
            put_locked(dc, kill_locked(dc, d, dead), dead);
    }
}

struct dentry *dentry_get(struct dentry *d)
{
    ref_get(&d->ref);
    return d;
}

void dentry_put(struct dentry *d)
{
    unsigned int n = ref_read(&d->ref);
    while (n > 1)
        if (atomic_compare_exchange_weak_explicit(&d->ref.n, &n, n - 1, memory_order_release, memory_order_relaxed))
            return;

    struct dcache *dc = d->sb->dcache;
    struct dentry *dead = NULL;
    mutex_lock(&dc->lock);
    put_locked(dc, d, &dead);
    if (dc->nr_lru > dc->max_lru)
        shrink_locked(dc, dc->max_lru, DCACHE_SHRINK_CHUNK, &dead);
    mutex_unlock(&dc->lock);
    free_dead(dead);
}

void dentry_unhash(struct dentry *d)
{
    struct dcache *dc = d->sb->dcache;
    mutex_lock(&dc->lock);
    hash_remove(dc, d);
    list_del_init(&d->child); /* readdir of trees that live here must not see it */
    mutex_unlock(&dc->lock);
}

void dentry_pin(struct dentry *d)
{
    struct dcache *dc = d->sb->dcache;
    mutex_lock(&dc->lock);
    if (!d->pinned) {
        d->pinned = true;
        ref_get(&d->ref);
    }
    mutex_unlock(&dc->lock);
}

void dentry_unpin(struct dentry *d)
{
    struct dcache *dc = d->sb->dcache;
    struct dentry *dead = NULL;
    mutex_lock(&dc->lock);
    if (d->pinned) {
        d->pinned = false;
        put_locked(dc, d, &dead);
    }
    mutex_unlock(&dc->lock);
    free_dead(dead);
}

static bool has_long_name(const struct dentry *d)
{
    return d->name != d->short_name;
}

static void swap_names(struct dentry *a, struct dentry *b)
{
    char tmp[sizeof(a->short_name)];
    char *a_long = has_long_name(a) ? a->name : NULL, *b_long = has_long_name(b) ? b->name : NULL;
    unsigned int len = a->name_len;

    memcpy(tmp, a->short_name, sizeof(tmp));
    memcpy(a->short_name, b->short_name, sizeof(tmp));
    memcpy(b->short_name, tmp, sizeof(tmp));
    a->name = b_long ? b_long : a->short_name;
    b->name = a_long ? a_long : b->short_name;
    a->name_len = b->name_len;
    b->name_len = len;
}

/* Puts an unlinked `d` below `parent`, whose reference for it exists already. */
static void place_locked(struct dcache *dc, struct dentry *d, struct dentry *parent) REQUIRES(&dc->lock)
{
    d->parent = parent;
    d->cookie = parent->next_cookie++;
    list_add_tail(&d->child, &parent->children);
    d->hash = dcache_hash(parent, d->name, d->name_len);
    hash_insert(dc, d);
}

void dentry_move(struct dentry *d, struct dentry *target, bool exchange)
{
    struct dcache *dc = d->sb->dcache;
    struct dentry *dead = NULL;
    /* A replaced file keeps its name and directory, for the "(deleted)" paths of its users. */
    char *copy = !exchange && has_long_name(target) ? strdup(target->name) : NULL;

    mutex_lock(&dc->lock);
    struct dentry *old_parent = d->parent, *new_parent = target->parent;
    hash_remove(dc, d);
    hash_remove(dc, target);
    list_del_init(&d->child);
    list_del_init(&target->child);
    if (exchange || (has_long_name(target) && !copy)) {
        swap_names(d, target);
        place_locked(dc, d, new_parent);
        if (exchange)
            place_locked(dc, target, old_parent);
        else
            target->parent = old_parent; /* out of memory: it shows the other name */
    } else {
        if (has_long_name(d))
            free(d->name);
        memcpy(d->short_name, target->short_name, sizeof(d->short_name));
        d->name = copy ? copy : d->short_name;
        d->name_len = target->name_len;
        ref_get(&new_parent->ref);
        place_locked(dc, d, new_parent);
        put_locked(dc, old_parent, &dead);
    }
    mutex_unlock(&dc->lock);
    free_dead(dead);
}

bool dentry_is_below(struct dentry *d, struct dentry *top)
{
    struct dcache *dc = d->sb->dcache;
    bool found = false;
    if (d->sb != top->sb)
        return false;
    mutex_lock(&dc->lock);
    for (;; d = d->parent) {
        found = d == top;
        if (found || d->parent == d)
            break;
    }
    mutex_unlock(&dc->lock);
    return found;
}

struct dentry *dentry_get_parent(struct dentry *d)
{
    struct dcache *dc = d->sb->dcache;
    mutex_lock(&dc->lock);
    struct dentry *parent = dentry_get(d->parent);
    mutex_unlock(&dc->lock);
    return parent;
}

void dentry_copy_name(struct dentry *d, char *buf, size_t len)
{
    struct dcache *dc = d->sb->dcache;
    mutex_lock(&dc->lock);
    size_t n = d->name_len < len - 1 ? d->name_len : len - 1;
    memcpy(buf, d->name, n);
    buf[n] = 0;
    mutex_unlock(&dc->lock);
}

void dentry_set_mounted(struct dentry *d, int delta)
{
    struct dcache *dc = d->sb->dcache;
    mutex_lock(&dc->lock);
    __atomic_fetch_add(&d->nr_mounts, (unsigned int)delta, __ATOMIC_RELAXED);
    mutex_unlock(&dc->lock);
}

/* Kills the unused children of `top`; negative ones in use are unhashed. */
static void forget_below(struct dcache *dc, struct dentry *top, struct dentry **dead) REQUIRES(&dc->lock)
{
    struct dentry *child, *tmp;
    list_for_each_entry_safe(child, tmp, &top->children, child) {
        if (child->pinned)
            continue;
        if (ref_read(&child->ref) == 0) {
            kill_locked(dc, child, dead);
            (void)!ref_put(&top->ref); /* top has the caller's reference too */
        } else if (!dentry_inode(child)) {
            hash_remove(dc, child);
        }
    }
}

void dentry_forget_children(struct dentry *d)
{
    struct dcache *dc = d->sb->dcache;
    struct dentry *dead = NULL;
    mutex_lock(&dc->lock);
    forget_below(dc, d, &dead);
    mutex_unlock(&dc->lock);
    free_dead(dead);
}

void dcache_shutdown(struct super_block *sb)
{
    struct dcache *dc = sb->dcache;
    struct dentry *dead = NULL;

    mutex_lock(&dc->lock);
    dc->dying = true;
    shrink_locked(dc, 0, UINT32_MAX, &dead);
    /* Unpinning only ever takes entries off chains, so one pass does, if it looks at a chain again after each. */
    for (unsigned int i = 0; i <= dc->mask; i++) {
        struct dentry *d = dc->buckets[i];
        while (d) {
            if (d->pinned) {
                d->pinned = false;
                put_locked(dc, d, &dead);
                d = dc->buckets[i];
            } else {
                d = d->hash_next;
            }
        }
    }
    mutex_unlock(&dc->lock);
    free_dead(dead);
}
