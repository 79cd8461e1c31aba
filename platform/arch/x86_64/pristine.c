#include "platform/arch/pristine.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

int pristine_image_create(const void *code, size_t len, size_t entry, size_t file_size, struct pristine_image *img)
{
    void *rw, *map;
    int fd, r;

    fd = memfd_create("runsc-stub", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    img->len = (len + 0xfff) & ~0xfffUL;
    if (ftruncate(fd, (off_t)(file_size > img->len ? file_size : img->len)) < 0)
        goto fail;
    rw = mmap(NULL, img->len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (rw == MAP_FAILED)
        goto fail;
    memcpy(rw, code, len);
    munmap(rw, img->len);
    map = mmap(NULL, img->len, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        goto fail;
    img->fd = fd;
    img->map = map;
    img->entry = entry;
    return 0;
fail:
    r = -errno;
    close(fd);
    return r;
}

void pristine_image_destroy(struct pristine_image *img)
{
    munmap((void *)img->map, img->len);
    close(img->fd);
}

/* The kernel writes to a registered rseq area on every return to user mode, and this one is about to vanish. */
static void unregister_rseq(void)
{
    enum { RSEQ_UNREGISTER = 1 };
    void *area = (char *)__builtin_thread_pointer() + __rseq_offset;

    if (__rseq_size == 0)
        return;

    /* The length must be the registered one: 32 in older C libraries, which say less in __rseq_size than they registered. */
    if (syscall(SYS_rseq, area, 32, RSEQ_UNREGISTER, RSEQ_SIG) < 0)
        syscall(SYS_rseq, area, __rseq_size, RSEQ_UNREGISTER, RSEQ_SIG);
}

static _Noreturn void pristine_child(const struct pristine_image *img, const uint64_t args[4], pid_t parent)
{
    /* The kernel's struct sigaction, all zero: SIG_DFL. */
    static const uint64_t sig_dfl[4];
    uint64_t no_signals = 0;
    register uint64_t r12 __asm__("r12") = args[0];
    register uint64_t r13 __asm__("r13") = args[1];
    register uint64_t r14 __asm__("r14") = args[2];
    register uint64_t r15 __asm__("r15") = args[3];

    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
        _exit(1);
    /* Not a session of its own: the scheduler would take it for another user's work (autogroups), slow to switch to. */
    setpgid(0, 0);
    for (int sig = 1; sig <= 64; sig++)
        syscall(SYS_rt_sigaction, sig, sig_dfl, NULL, sizeof(no_signals));
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &no_signals, NULL, sizeof(no_signals));
    syscall(SYS_set_robust_list, NULL, 24);
    unregister_rseq();
    __asm__ volatile("jmp *%0"
                     :
                     : "a"((const char *)img->map + img->entry), "D"((uint64_t)img->fd), "S"(img->len), "r"(r12), "r"(r13),
                       "r"(r14), "r"(r15)
                     : "memory");
    __builtin_unreachable();
}

pid_t pristine_spawn(const struct pristine_image *img, const uint64_t args[4])
{
    pid_t parent = getpid(), pid;

    /* No exit signal: libraries that wait for any child never see this one. */
    pid = (pid_t)syscall(SYS_clone, CLONE_FILES, 0, NULL, NULL, 0);
    if (pid == 0)
        pristine_child(img, args, parent);
    return pid < 0 ? -errno : pid;
}
