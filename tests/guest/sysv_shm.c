/* System V shared memory. */
#include "tests/guest/guest_test.h"

#include <grp.h>
#include <signal.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>

static struct shmid_ds stat_of(int id)
{
    struct shmid_ds ds;

    CHECK_OK(shmctl(id, IPC_STAT, &ds));
    return ds;
}

TEST(shm_is_shared_with_children)
{
    int id = shmget(IPC_PRIVATE, 10000, IPC_CREAT | 0600), status;
    volatile int *p;
    pid_t pid;

    CHECK_OK(id);
    CHECK_EQ(stat_of(id).shm_segsz, 10000);
    p = shmat(id, NULL, 0);
    CHECK(p != (void *)-1);
    CHECK_EQ(p[0], 0);
    CHECK_EQ(p[2499], 0);
    CHECK_EQ(stat_of(id).shm_nattch, 1);
    CHECK_EQ(stat_of(id).shm_cpid, getpid());
    p[1] = 5;
    pid = fork();
    if (pid == 0) {
        if (p[1] != 5 || stat_of(id).shm_nattch != 2)
            _exit(1);
        p[2] = 9;
        _exit(shmdt((void *)p) || stat_of(id).shm_nattch != 1);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_EQ(p[2], 9);
    CHECK_EQ(stat_of(id).shm_nattch, 1);
    CHECK_OK(shmctl(id, IPC_RMID, NULL));
    /* Lives on until the last detach. */
    CHECK(stat_of(id).shm_perm.mode & SHM_DEST);
    p[3] = 1;
    CHECK_OK(shmdt((void *)p));
    struct shmid_ds ds;
    CHECK_ERR(shmctl(id, IPC_STAT, &ds), EINVAL);
}

TEST(shm_contents_outlive_attaches)
{
    int id = shmget(0x51510001, 300000, IPC_CREAT | IPC_EXCL | 0600);
    char *p;

    CHECK_OK(id);
    p = shmat(id, NULL, 0);
    memset(p, 'x', 300000);
    CHECK_OK(shmdt(p));
    CHECK_EQ(stat_of(id).shm_nattch, 0);
    CHECK_EQ(shmget(0x51510001, 0, 0), id);
    CHECK_ERR(shmget(0x51510001, 300001, 0), EINVAL);
    CHECK_ERR(shmget(0x51510001, 1, IPC_CREAT | IPC_EXCL), EEXIST);
    p = shmat(id, NULL, SHM_RDONLY);
    CHECK(p[0] == 'x' && p[299999] == 'x');
    CHECK_OK(shmdt(p));
    CHECK_OK(shmctl(id, IPC_RMID, NULL));
    CHECK_ERR(shmget(0x51510001, 1, 0), ENOENT);
    CHECK_ERR(shmat(id, NULL, 0) == (void *)-1 ? -1 : 0, EINVAL);
}

TEST(shm_read_only_attach_faults_on_write)
{
    int id = shmget(IPC_PRIVATE, 4096, 0600), status;
    volatile char *p = shmat(id, NULL, SHM_RDONLY);
    pid_t pid = fork();

    if (pid == 0) {
        p[0] = 1;
        _exit(0);
    }
    waitpid(pid, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    CHECK_OK(shmdt((void *)p));
    CHECK_OK(shmctl(id, IPC_RMID, NULL));
}

TEST(shm_attach_addresses)
{
    int id = shmget(IPC_PRIVATE, 8192, 0600);
    char *area = mmap(NULL, 65536, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK_ERR(shmat(id, area + 4096, 0) == (void *)-1 ? -1 : 0, EINVAL);
    CHECK_ERR(shmat(id, area + 1, SHM_REMAP) == (void *)-1 ? -1 : 0, EINVAL);
    CHECK_ERR(shmat(id, NULL, SHM_REMAP) == (void *)-1 ? -1 : 0, EINVAL);
    CHECK(shmat(id, area + 4096 + 5, SHM_RND | SHM_REMAP) == area + 4096);
    area[4096] = 1;
    munmap(area, 4096);
    CHECK_ERR(shmdt(area), EINVAL);
    CHECK_ERR(shmdt(area + 4096 + 1), EINVAL);
    /* Even when a hole was made in it. */
    munmap(area + 4096, 4096);
    CHECK_OK(shmdt(area + 4096));
    CHECK_EQ(stat_of(id).shm_nattch, 0);
    CHECK_OK(shmctl(id, IPC_RMID, NULL));
}

TEST(shm_errors_and_limits)
{
    struct shmid_ds ds;
    struct shminfo info;
    struct shm_info sinfo;
    int id;

    CHECK_ERR(shmget(IPC_PRIVATE, 0, 0600), EINVAL);
    CHECK_ERR(shmget(0x51510002, 4096, 0), ENOENT);
    CHECK_ERR(shmctl(-1, IPC_STAT, &ds), EINVAL);
    CHECK_ERR(shmctl(0x7ffffff, IPC_STAT, &ds), EINVAL);
    id = shmget(IPC_PRIVATE, 4096, 0600);
    CHECK_ERR(shmctl(id, 99, &ds), EINVAL);
    CHECK_ERR(shmctl(id, IPC_STAT, (void *)1), EFAULT);
    CHECK_OK(shmctl(0, IPC_INFO, (void *)&info));
    CHECK_EQ(info.shmmin, 1);
    CHECK_OK(shmctl(0, SHM_INFO, (void *)&sinfo));
    CHECK(sinfo.used_ids >= 1 && sinfo.shm_tot >= 1);
    ds = stat_of(id);
    ds.shm_perm.mode = 0640;
    CHECK_OK(shmctl(id, IPC_SET, &ds));
    CHECK_EQ(stat_of(id).shm_perm.mode, 0640);
    CHECK_OK(shmctl(id, SHM_LOCK, NULL));
    CHECK(stat_of(id).shm_perm.mode & SHM_LOCKED);
    CHECK_OK(shmctl(id, SHM_UNLOCK, NULL));
    CHECK_OK(shmctl(id, IPC_RMID, NULL));
}

TEST(shm_permissions)
{
    int id = shmget(IPC_PRIVATE, 4096, 0600), status;
    pid_t pid;

    if (getuid() != 0) {
        shmctl(id, IPC_RMID, NULL);
        SKIP("needs root");
    }
    pid = fork();
    if (pid == 0) {
        struct shmid_ds ds;

        if (setgroups(0, NULL) || setgid(65534) || setuid(65534))
            _exit(2);
        CHECK_ERR(shmat(id, NULL, 0) == (void *)-1 ? -1 : 0, EACCES);
        CHECK_ERR(shmctl(id, IPC_STAT, &ds), EACCES);
        CHECK_ERR(shmctl(id, IPC_RMID, NULL), EPERM);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_OK(shmctl(id, IPC_RMID, NULL));
}

TEST_MAIN()
