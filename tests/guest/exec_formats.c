/* What execve(2) takes for a program: scripts, and ELF files good and bad. */
#include "tests/guest/guest_test.h"

#include <elf.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char dir[] = "/tmp/execfmtXXXXXX";

static const char *path_of(const char *name)
{
    static char buf[4][256];
    static int i;

    i = (i + 1) % 4;
    snprintf(buf[i], sizeof(buf[i]), "%s/%s", dir, name);
    return buf[i];
}

static void put_file(const char *name, const void *data, size_t n, mode_t mode)
{
    int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

    CHECK_OK(fd);
    CHECK_EQ(write(fd, data, n), (ssize_t)n);
    CHECK_OK(fchmod(fd, mode));
    close(fd);
}

/* The errno with which a child's execve() fails, or its exit status + 1000. */
static int try_exec(const char *file, char *const argv[])
{
    char *const env[] = {NULL};
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        execve(file, argv, env);
        _exit(errno);
    }
    CHECK_OK(waitpid(pid, &status, 0));
    if (WIFSIGNALED(status))
        return 2000 + WTERMSIG(status);
    return WEXITSTATUS(status);
}

static int try_file(const char *name)
{
    return try_exec(path_of(name), (char *[]){"argv0", NULL});
}

/* Runs a script by this very program, which then prints its arguments. */
static void run_script(const char *name, const char *want)
{
    char out[512] = {0};
    int fd[2], status;
    ssize_t n, len = 0;

    CHECK_OK(pipe(fd));
    if (fork() == 0) {
        dup2(fd[1], 1);
        close(fd[0]);
        execl(path_of(name), "argv0", "one", "two", (char *)NULL);
        _exit(99);
    }
    close(fd[1]);
    while ((n = read(fd[0], out + len, sizeof(out) - 1 - (size_t)len)) > 0)
        len += n;
    close(fd[0]);
    CHECK_OK(wait(&status));
    CHECK_STR(out, want);
}

/* Makes scripts that name an interpreter: a copy of this program that only prints. */
static void make_printer(void)
{
    static char buf[1 << 16];
    int in = open("/proc/self/exe", O_RDONLY), out = open(path_of("printer"), O_WRONLY | O_CREAT | O_TRUNC, 0700);
    ssize_t n;

    while ((n = read(in, buf, sizeof(buf))) > 0)
        CHECK_EQ(write(out, buf, (size_t)n), n);
    close(in);
    close(out);
}

TEST(scripts_get_their_arguments_in_order)
{
    char s[300], want[400];

    make_printer();
    snprintf(s, sizeof(s), "#!%s", path_of("printer"));
    put_file("plain", s, strlen(s), 0700);
    snprintf(want, sizeof(want), "%s|%s|one|two|", path_of("printer"), path_of("plain"));
    run_script("plain", want);

    snprintf(s, sizeof(s), "#! \t%s   -a  b  \t\nrest\n", path_of("printer"));
    put_file("with_arg", s, strlen(s), 0700);
    snprintf(want, sizeof(want), "%s|-a  b|%s|one|two|", path_of("printer"), path_of("with_arg"));
    run_script("with_arg", want);

    snprintf(s, sizeof(s), "#!%s x\n", path_of("with_arg"));
    put_file("nested", s, strlen(s), 0700);
    snprintf(want, sizeof(want), "%s|-a  b|%s|x|%s|one|two|", path_of("printer"), path_of("with_arg"), path_of("nested"));
    run_script("nested", want);
}

TEST(scripts_that_cannot_run)
{
    char s[300];

    put_file("empty", "", 0, 0700);
    CHECK_EQ(try_file("empty"), ENOEXEC);
    put_file("text", "echo hello\n", 11, 0700);
    CHECK_EQ(try_file("text"), ENOEXEC);
    put_file("noname", "#!\n", 3, 0700);
    CHECK_EQ(try_file("noname"), ENOEXEC);
    put_file("blank", "#!   \n", 6, 0700);
    CHECK_EQ(try_file("blank"), ENOEXEC);
    put_file("missing", "#!/does/not/exist\n", 18, 0700);
    CHECK_EQ(try_file("missing"), ENOENT);
    put_file("directory", "#!/tmp\n", 7, 0700);
    CHECK_EQ(try_file("directory"), EACCES);
    memset(s, 'x', sizeof(s));
    memcpy(s, "#!/", 3);
    put_file("long", s, sizeof(s), 0700);
    CHECK_EQ(try_file("long"), ENOEXEC);
    snprintf(s, sizeof(s), "#!%s\n", path_of("self"));
    put_file("self", s, strlen(s), 0700);
    CHECK_EQ(try_file("self"), ELOOP);
}

TEST(files_that_may_not_be_run)
{
    put_file("plainfile", "#!/bin/sh\n", 10, 0600);
    CHECK_EQ(try_file("plainfile"), EACCES);
    CHECK_EQ(try_exec("/tmp", (char *[]){"x", NULL}), EACCES);
    CHECK_EQ(try_exec("/dev/null", (char *[]){"x", NULL}), EACCES);
    CHECK_EQ(try_exec("", (char *[]){"x", NULL}), ENOENT);
    CHECK_EQ(try_exec(path_of("plainfile/x"), (char *[]){"x", NULL}), ENOTDIR);
}

/* A tiny program: exit(7). */
struct tiny {
    Elf64_Ehdr eh;
    Elf64_Phdr ph[4];
    unsigned char code[16];
    char interp[64];
};

static struct tiny tiny_program(void)
{
    static const unsigned char code[] = {0xbf, 7, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05}; /* exit(7) */
    struct tiny t;

    memset(&t, 0, sizeof(t));
    memcpy(t.eh.e_ident, "\177ELF\2\1\1", 7);
    t.eh.e_type = ET_EXEC;
    t.eh.e_machine = EM_X86_64;
    t.eh.e_version = 1;
    t.eh.e_entry = 0x400000 + offsetof(struct tiny, code);
    t.eh.e_phoff = offsetof(struct tiny, ph);
    t.eh.e_ehsize = sizeof(Elf64_Ehdr);
    t.eh.e_phentsize = sizeof(Elf64_Phdr);
    t.eh.e_phnum = 1;
    t.ph[0].p_type = PT_LOAD;
    t.ph[0].p_flags = PF_R | PF_X;
    t.ph[0].p_vaddr = 0x400000;
    t.ph[0].p_filesz = t.ph[0].p_memsz = sizeof(t);
    t.ph[0].p_align = 4096;
    memcpy(t.code, code, sizeof(code));
    return t;
}

static int try_tiny(const struct tiny *t)
{
    put_file("tiny", t, sizeof(*t), 0700);
    return try_file("tiny");
}

TEST(a_tiny_program_runs)
{
    struct tiny t = tiny_program();

    CHECK_EQ(try_tiny(&t), 7);
    t.eh.e_type = ET_DYN; /* static, position independent */
    t.ph[0].p_vaddr = 0;
    t.eh.e_entry -= 0x400000;
    CHECK_EQ(try_tiny(&t), 7);
    t.ph[1] = (Elf64_Phdr){.p_type = PT_LOAD, .p_flags = PF_R | PF_W, .p_vaddr = 0x5000, .p_memsz = 0x9000, .p_align = 4096};
    t.ph[2] = (Elf64_Phdr){.p_type = PT_GNU_STACK, .p_flags = PF_R | PF_W};
    t.eh.e_phnum = 3;
    CHECK_EQ(try_tiny(&t), 7);
}

TEST(bss_is_zero_and_writable)
{
    /* cmpb $0, 0x401800; jne fail; movb $1, 0x401800; movb $1, 0x403000; exit(7) */
    static const unsigned char code[] = {0x80, 0x3c, 0x25, 0x00, 0x18, 0x40, 0x00, 0x00, 0x75, 0x10, 0xc6, 0x04, 0x25,
                                         0x00, 0x18, 0x40, 0x00, 0x01, 0xc6, 0x04, 0x25, 0x00, 0x30, 0x40, 0x00, 0x01,
                                         0xbf, 7,    0,    0,    0,    0xb8, 60,   0,    0,    0,    0x0f, 0x05};
    static unsigned char file[0x2000];
    struct tiny t = tiny_program();

    memset(file, 0xff, sizeof(file));
    t.ph[0].p_filesz = t.ph[0].p_memsz = 0x1000;
    t.ph[1] = (Elf64_Phdr){.p_type = PT_LOAD,
                           .p_flags = PF_R | PF_W,
                           .p_offset = 0x1000,
                           .p_vaddr = 0x401000,
                           .p_filesz = 0x700,
                           .p_memsz = 0x3000,
                           .p_align = 4096};
    t.eh.e_phnum = 2;
    t.eh.e_entry = 0x400800;
    memcpy(file, &t, sizeof(t));
    memcpy(file + 0x800, code, sizeof(code));
    put_file("bss", file, sizeof(file), 0700);
    CHECK_EQ(try_file("bss"), 7);
}

TEST(malformed_programs_are_refused)
{
    struct tiny t;

#define COMMA ,
#define BAD(change, err) \
    t = tiny_program();  \
    change;              \
    CHECK_EQ(try_tiny(&t), err);
    BAD(t.eh.e_ident[0] = 0, ENOEXEC)
    BAD(t.eh.e_type = ET_REL, ENOEXEC)
    BAD(t.eh.e_type = ET_CORE, ENOEXEC)
    BAD(t.eh.e_machine = EM_AARCH64, ENOEXEC)
    BAD(t.eh.e_phentsize = 32, ENOEXEC)
    BAD(t.eh.e_phnum = 0, ENOEXEC)
    BAD(t.eh.e_phnum = 65535, ENOEXEC)
    BAD(t.ph[1] = (Elf64_Phdr){.p_type = PT_INTERP COMMA.p_filesz = 1 COMMA.p_offset = 0}; t.eh.e_phnum = 2, ENOEXEC)
    BAD(t.ph[1] = (Elf64_Phdr){.p_type = PT_INTERP COMMA.p_filesz = 5000}; t.eh.e_phnum = 2, ENOEXEC)
    /* The name is not terminated. */
    BAD(t.ph[1] = (Elf64_Phdr){.p_type = PT_INTERP COMMA.p_filesz = 4}; t.eh.e_phnum = 2, ENOEXEC)
#undef BAD
#undef COMMA
    put_file("short", &t, 40, 0700);
    CHECK_EQ(try_file("short"), ENOEXEC);
}

TEST(interpreters_that_do_not_work)
{
    struct tiny t = tiny_program();

    t.ph[1] = (Elf64_Phdr){.p_type = PT_INTERP, .p_offset = offsetof(struct tiny, interp), .p_filesz = sizeof(t.interp)};
    t.eh.e_phnum = 2;
    strcpy(t.interp, "/does/not/exist");
    CHECK_EQ(try_tiny(&t), ENOENT);
    put_file("notelf", "hello, this is not an interpreter and is long enough to be read as a header.....", 80, 0700);
    snprintf(t.interp, sizeof(t.interp), "%s", path_of("notelf"));
    CHECK_EQ(try_tiny(&t), ELIBBAD);
    strcpy(t.interp, "/tmp");
    CHECK_EQ(try_tiny(&t), EACCES);
}

TEST(a_segment_beyond_the_file_kills)
{
    struct tiny t = tiny_program();

    t.ph[0].p_filesz = t.ph[0].p_memsz = 0x3000;
    t.eh.e_entry = 0x402000;
    put_file("cut", &t, sizeof(t), 0700);
    int r = try_file("cut");
    CHECK(r == 2000 + 7 || r == 2000 + 11); /* SIGBUS, or SIGSEGV */
}

TEST(arguments_have_limits)
{
    size_t one = 131072;
    char *big = malloc(one + 1), **many;

    memset(big, 'x', one);
    big[one] = 0;
    CHECK_EQ(try_exec("/proc/self/exe", (char *[]){"x", big, NULL}), E2BIG);
    big[one - 1] = 0;
    put_file("args", "#!/bin/false\n", 13, 0700);
    many = calloc(1024, sizeof(char *));
    for (int i = 0; i < 1000; i++)
        many[i] = big;
    CHECK_EQ(try_exec("/proc/self/exe", many), E2BIG);
    free(many);
    free(big);
}

TEST(an_empty_argv_gets_a_name)
{
    char out[16] = {0};
    int fd[2];

    CHECK_OK(pipe(fd));
    if (fork() == 0) {
        dup2(fd[1], 1);
        execve(path_of("printer"), (char *[]){NULL}, (char *[]){NULL});
        _exit(99);
    }
    close(fd[1]);
    CHECK_EQ(read(fd[0], out, sizeof(out)), 1);
    CHECK_STR(out, "|");
    close(fd[0]);
    CHECK_OK(wait(NULL));
}

int main(int argc, char **argv)
{
    char cmd[64];
    int r;

    if (strstr(argv[0], "/printer") || strstr((const char *)getauxval(AT_EXECFN), "/printer")) {
        for (int i = 0; i < argc; i++)
            dprintf(1, "%s|", argv[i]);
        return 0;
    }
    if (!mkdtemp(dir))
        return 1;
    r = guest_test_main(argc, argv);
    snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
    return system(cmd) == 0 ? r : 1;
}
