/* What a program finds on its stack: arguments, environment, the auxiliary vector. */
#include "tests/guest/guest_test.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>

#ifndef AT_RSEQ_FEATURE_SIZE
#define AT_RSEQ_FEATURE_SIZE 27
#define AT_RSEQ_ALIGN        28
#endif
#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

extern char **environ;

TEST(entries)
{
    const Elf64_Phdr *ph = (const void *)getauxval(AT_PHDR);
    bool load = false;

    CHECK_EQ(getauxval(AT_PAGESZ), 4096);
    CHECK_EQ(getauxval(AT_CLKTCK), 100);
    CHECK_EQ(getauxval(AT_PHENT), sizeof(Elf64_Phdr));
    CHECK_EQ(getauxval(AT_UID), getuid());
    CHECK_EQ(getauxval(AT_EUID), geteuid());
    CHECK_EQ(getauxval(AT_GID), getgid());
    CHECK_EQ(getauxval(AT_EGID), getegid());
    CHECK_EQ(getauxval(AT_SECURE), 0);
    CHECK_EQ(getauxval(AT_FLAGS), 0);
    CHECK_STR((const char *)getauxval(AT_PLATFORM), "x86_64");
    CHECK(getauxval(AT_HWCAP) != 0);
    CHECK(getauxval(AT_ENTRY) != 0);
    CHECK(getauxval(AT_MINSIGSTKSZ) >= 1024);
    CHECK(ph != NULL);
    for (unsigned long i = 0; i < getauxval(AT_PHNUM); i++)
        load |= ph[i].p_type == PT_LOAD;
    CHECK(load);
    CHECK_EQ(getauxval(AT_BASE), 0); /* this program is static */
}

TEST(random_bytes_differ_each_time)
{
    const unsigned char *random = (const void *)getauxval(AT_RANDOM);
    unsigned char other[16];
    int fd[2], status;

    CHECK(random != NULL);
    if (strcmp((const char *)getauxval(AT_EXECFN), "/proc/self/exe") == 0)
        return;
    CHECK_OK(pipe(fd));
    if (fork() == 0) {
        dup2(fd[1], 1);
        execl("/proc/self/exe", "auxv", "print_random", (char *)NULL);
        _exit(127);
    }
    close(fd[1]);
    CHECK_EQ(read(fd[0], other, 16), 16);
    CHECK_OK(wait(&status));
    CHECK(memcmp(random, other, 16) != 0);
    close(fd[0]);
}

/* Run by the test above. */
TEST(print_random)
{
    if (strcmp((const char *)getauxval(AT_EXECFN), "/proc/self/exe") == 0)
        CHECK_EQ(write(1, (const void *)getauxval(AT_RANDOM), 16), 16);
}

TEST(proc_shows_the_same)
{
    unsigned long v[2];
    int fd = open("/proc/self/auxv", O_RDONLY), n = 0;

    CHECK_OK(fd);
    while (read(fd, v, sizeof(v)) == sizeof(v) && v[0] != AT_NULL) {
        if (v[0] != AT_HWCAP) /* libc has its own idea of it */
            CHECK_EQ(v[1], getauxval(v[0]));
        n++;
    }
    CHECK(n > 15);
    close(fd);
}

TEST(the_stack_is_laid_out_as_the_abi_says)
{
    /* envp ends where auxv begins; argv is just below envp, argc below that. */
    char **env = environ, **p = environ;
    unsigned long *aux;

    if (environ[0]) {
        CHECK(((unsigned long)(env - 0) & 7) == 0);
    }
    while (*p)
        p++;
    aux = (unsigned long *)(p + 1);
    CHECK(aux[0] == AT_SYSINFO_EHDR || aux[0] <= 64);
    while (aux[0] != AT_NULL)
        aux += 2;
    CHECK((const char *)getauxval(AT_EXECFN) > (char *)aux);
    CHECK((const char *)getauxval(AT_RANDOM) > (char *)aux);
    /* The file name is the last string, eight zero bytes from the end of the stack. */
    const char *end = (const char *)getauxval(AT_EXECFN);
    end += strlen(end) + 1;
    for (int i = 0; i < 8; i++)
        CHECK_EQ(end[i], 0);
    CHECK_EQ(((unsigned long)end + 8) % 4096, 0);
}

TEST(addresses_are_random)
{
    char line[64], seen[3][64] = {{0}};

    for (int i = 0; i < 3; i++) {
        FILE *f = popen("head -c 12 /proc/self/maps; grep -m1 stack /proc/self/maps | head -c 12", "r");
        if (!f || !fgets(line, sizeof(line), f)) {
            if (f)
                pclose(f);
            SKIP("no shell");
        }
        strcpy(seen[i], line);
        pclose(f);
    }
    CHECK(strcmp(seen[0], seen[1]) != 0 || strcmp(seen[1], seen[2]) != 0);
}
TEST_MAIN()
