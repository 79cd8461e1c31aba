/*
 * /proc/config.gz: which of Linux's build options this kernel answers to. Programs and test suites look there for whether a
 * feature can be expected, so the list has what is served and nothing else. The gzip stream is made of stored blocks.
 */
#include "sentry/fs/proc/proc.h"

#include <assert.h>
#include <stdint.h>

static const char config[] = "#\n# runsc-c\n#\n"
                             "CONFIG_64BIT=y\n"
                             "CONFIG_X86_64=y\n"
                             "CONFIG_MMU=y\n"
                             "CONFIG_SMP=y\n"
                             "CONFIG_HZ=100\n"
                             "CONFIG_MULTIUSER=y\n"
                             "CONFIG_SYSVIPC=y\n"
                             "CONFIG_SYSVIPC_SYSCTL=y\n"
                             "CONFIG_POSIX_MQUEUE=y\n"
                             "CONFIG_POSIX_MQUEUE_SYSCTL=y\n"
                             "CONFIG_CROSS_MEMORY_ATTACH=y\n"
                             "CONFIG_SYSFS_SYSCALL=y\n"
                             "CONFIG_FHANDLE=y\n"
                             "CONFIG_POSIX_TIMERS=y\n"
                             "CONFIG_HIGH_RES_TIMERS=y\n"
                             "CONFIG_PRINTK=y\n"
                             "CONFIG_FUTEX=y\n"
                             "CONFIG_FUTEX_PI=y\n"
                             "CONFIG_EPOLL=y\n"
                             "CONFIG_SIGNALFD=y\n"
                             "CONFIG_TIMERFD=y\n"
                             "CONFIG_EVENTFD=y\n"
                             "CONFIG_AIO=y\n"
                             "CONFIG_SHMEM=y\n"
                             "CONFIG_TMPFS=y\n"
                             "CONFIG_TMPFS_XATTR=y\n"
                             "CONFIG_ADVISE_SYSCALLS=y\n"
                             "CONFIG_MEMBARRIER=y\n"
                             "CONFIG_KCMP=y\n"
                             "CONFIG_RSEQ=y\n"
                             "CONFIG_CHECKPOINT_RESTORE=y\n"
                             "CONFIG_MEMFD_CREATE=y\n"
                             "CONFIG_CGROUPS=y\n"
                             "CONFIG_SECCOMP=y\n"
                             "CONFIG_SECCOMP_FILTER=y\n"
                             "CONFIG_BINFMT_ELF=y\n"
                             "CONFIG_BINFMT_SCRIPT=y\n"
                             "CONFIG_FILE_LOCKING=y\n"
                             "CONFIG_INOTIFY_USER=y\n"
                             "CONFIG_OVERLAY_FS=y\n"
                             "CONFIG_PROC_FS=y\n"
                             "CONFIG_PROC_SYSCTL=y\n"
                             "CONFIG_SYSFS=y\n"
                             "CONFIG_UNIX98_PTYS=y\n"
                             "CONFIG_NET=y\n"
                             "CONFIG_UNIX=y\n"
                             "CONFIG_INET=y\n"
                             "CONFIG_IPV6=y\n"
                             "CONFIG_IKCONFIG=y\n"
                             "CONFIG_IKCONFIG_PROC=y\n";

static uint32_t crc32_of(const char *p, size_t n)
{
    uint32_t crc = ~0u;

    for (size_t i = 0; i < n; i++) {
        crc ^= (unsigned char)p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

int proc_config_gz(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    static const unsigned char header[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3};
    const uint16_t len = sizeof(config) - 1, not_len = (uint16_t)~len;
    const uint32_t crc = crc32_of(config, len), size = len;
    const unsigned char last_stored = 1;

    static_assert(sizeof(config) <= UINT16_MAX, "one stored block");
    seq_write(s, header, sizeof(header));
    seq_write(s, &last_stored, 1);
    seq_write(s, &len, sizeof(len));
    seq_write(s, &not_len, sizeof(not_len));
    seq_write(s, config, len);
    seq_write(s, &crc, sizeof(crc));
    seq_write(s, &size, sizeof(size));
    return 0;
}
