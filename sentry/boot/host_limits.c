/* What the host gives: descriptors, memory, CPUs. */
#include "sentry/boot/boot_internal.h"

#include "lib/log.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <unistd.h>

/*
 * Each guest file on the host and each stub needs descriptors, so the soft limit goes up to the hard one, and that to the
 * kernel's usual ceiling if we may. What is still too little shows as EMFILE or ENFILE where it is met.
 */
static void raise_limits(void)
{
    static const int resources[] = {RLIMIT_NOFILE, RLIMIT_NPROC, RLIMIT_MEMLOCK};
    struct rlimit l;

    for (size_t i = 0; i < ARRAY_SIZE(resources); i++) {
        rlim_t want = resources[i] == RLIMIT_NOFILE ? 1048576 : RLIM_INFINITY;

        if (getrlimit(resources[i], &l) < 0)
            continue;
        if (l.rlim_max >= want) {
            l.rlim_cur = want;
            setrlimit(resources[i], &l);
            continue;
        }
        if (setrlimit(resources[i], &(struct rlimit){want, want}) == 0)
            continue;
        l.rlim_cur = l.rlim_max;
        setrlimit(resources[i], &l);
    }
    /* A sentry that dies should not leave guest memory on the host's disk. */
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    if (getrlimit(RLIMIT_NOFILE, &l) == 0)
        log_debug("host descriptors: %llu", (unsigned long long)l.rlim_cur);
}

/* By the host's clock source: the CPU's own word for it, an invariant counter, is often hidden by hypervisors. */
static bool tsc_clock(void)
{
    char source[16] = "";
    int fd = open("/sys/devices/system/clocksource/clocksource0/current_clocksource", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, source, sizeof(source) - 1) : -1;

    if (fd >= 0)
        close(fd);
    return n > 0 && (strncmp(source, "tsc", 3) == 0 || strncmp(source, "kvm-clock", 9) == 0);
}

void sandbox_look_at_host(struct container_spec *spec)
{
    raise_limits();
    spec->tsc_clock = tsc_clock();
}

uint64_t boot_host_ram(void)
{
    struct sysinfo si;

    return sysinfo(&si) == 0 ? (uint64_t)si.totalram * si.mem_unit : 1ULL << 30;
}

unsigned int boot_host_cpus(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned int)CPU_COUNT(&set) : 1;
}
