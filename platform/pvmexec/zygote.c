/*
 * The zygote makes stub processes: it is a pristine process that forks itself on request, ahead of need, so that a new address
 * space is usually ready when the sentry asks for one.
 *
 * Requests and results go through the birth page. A new stub has it mapped as well, and unmaps it before it looks for commands.
 */
#include "platform/pvmexec/arch/image.h"
#include "platform/pvmexec/stub.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static unsigned char *birth_entry(struct zygote *z, int i)
{
    return z->birth + BIRTH_FIRST + i * BIRTH_SIZE;
}

static atomic_uint *birth_state(unsigned char *entry)
{
    return (atomic_uint *)(entry + BIRTH_STATE);
}

static int request(struct stub_platform *p, unsigned char *entry)
{
    int64_t commands = arena_alloc(&p->arena, ARENA_PAGE);

    if (commands < 0)
        return (int)commands;
    mapper_init_commands(&p->arena, (uint64_t)commands);
    memcpy(entry + BIRTH_COMMANDS, &commands, sizeof(commands));
    atomic_store(birth_state(entry), BIRTH_REQUESTED);
    return 0;
}

static void ring(struct zygote *z)
{
    atomic_fetch_add((atomic_uint *)(z->birth + BIRTH_BELL), 1);
    syscall(SYS_futex, z->birth + BIRTH_BELL, FUTEX_WAKE, 1, NULL, NULL, 0);
}

int zygote_start(struct stub_platform *p, uint64_t globals_off)
{
    struct zygote *z = &p->zygote;
    int64_t birth = arena_alloc(&p->arena, ARENA_PAGE);
    uint64_t args[4];
    int r;

    if (birth < 0)
        return (int)birth;
    mutex_init(&z->lock);
    z->birth = arena_ptr(&p->arena, (uint64_t)birth);
    args[0] = (uint64_t)p->image.fd;
    args[1] = (uint64_t)getpid();
    args[2] = globals_off;
    args[3] = (uint64_t)birth;
    for (int i = 0; i < BIRTH_SLOTS; i++)
        if ((r = request(p, birth_entry(z, i))) < 0)
            return r;
    z->pid = pristine_spawn(&p->image, args);
    return z->pid < 0 ? z->pid : 0;
}

/* Waits for a state of `entry` other than `state`; -ESRCH if the zygote dies. */
static int await_change(struct zygote *z, unsigned char *entry, uint32_t state)
{
    const struct timespec timeout = {.tv_nsec = 100000000};

    while (atomic_load(birth_state(entry)) == state) {
        if (syscall(SYS_futex, entry + BIRTH_STATE, FUTEX_WAIT, state, &timeout, NULL, 0) < 0 && errno == ETIMEDOUT &&
            waitpid(z->pid, NULL, __WALL | WNOHANG) != 0)
            return -ESRCH;
    }
    return 0;
}

int zygote_take(struct stub_platform *p, struct stub_process *out)
{
    struct zygote *z = &p->zygote;
    unsigned char *entry = birth_entry(z, 0);
    int32_t pid;
    int r = 0;

    mutex_lock(&z->lock);
    for (int i = 0; i < BIRTH_SLOTS; i++) {
        if (atomic_load(birth_state(birth_entry(z, i))) == BIRTH_READY) {
            entry = birth_entry(z, i);
            break;
        }
    }
    while (r == 0 && atomic_load(birth_state(entry)) != BIRTH_READY) {
        uint32_t state = atomic_load(birth_state(entry));

        if (state == BIRTH_EMPTY) {
            r = request(p, entry);
            ring(z);
        } else if (state != BIRTH_READY) {
            r = await_change(z, entry, state);
        }
    }
    if (r)
        goto out;
    memcpy(&pid, entry + BIRTH_PID, sizeof(pid));
    memcpy(&out->commands, entry + BIRTH_COMMANDS, sizeof(out->commands));
    out->pid = pid;
    out->mapper_cpu = -1;
    out->nr_slots = 0;
    atomic_store(birth_state(entry), BIRTH_EMPTY);
    if (pid < 0) {
        r = pid;
        arena_free(&p->arena, ARENA_PAGE, out->commands);
        goto out;
    }
    /* The next one is made while this one is put to use. */
    if (request(p, entry) == 0)
        ring(z);
out:
    mutex_unlock(&z->lock);
    return r;
}

void zygote_stop(struct stub_platform *p)
{
    struct zygote *z = &p->zygote;

    /* What it is making at this moment must not be left behind. */
    for (int i = 0; i < BIRTH_SLOTS; i++) {
        unsigned char *entry = birth_entry(z, i);
        int32_t pid;

        while (atomic_load(birth_state(entry)) == BIRTH_REQUESTED)
            if (await_change(z, entry, BIRTH_REQUESTED) < 0)
                break;
        memcpy(&pid, entry + BIRTH_PID, sizeof(pid));
        if (atomic_load(birth_state(entry)) != BIRTH_READY || pid < 0)
            continue;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, __WALL);
    }
    kill(z->pid, SIGKILL);
    waitpid(z->pid, NULL, __WALL);
    mutex_fini(&z->lock);
}
