/* platform-test BACKEND [TEST...]: runs tests, each in a process of its own. */
#include "tests/platform/harness.h"

#include "lib/log.h"

#include <sys/wait.h>
#include <unistd.h>

static const struct test *const suites[] = {basic_tests, hostile_tests, hijack_tests};

static int run_test(const struct test *t)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        struct platform_config config = {.name = test_platform_name};
        const char *factor = getenv("TEST_TIME_FACTOR");
        char why[512];

        alarm(600 * (factor && atoi(factor) > 0 ? (unsigned int)atoi(factor) : 1));
        test_setup_memory();
        if (platform_create(&config, &test_platform, why, sizeof(why))) {
            fprintf(stderr, "no platform: %s\n", why);
            _exit(77);
        }
        t->fn();
        platform_destroy(test_platform);
        exit(0);
    }
    waitpid(pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        return 77;
    printf("%-40s %s\n", t->name, status == 0 ? "ok" : "FAILED");
    fflush(stdout);
    return status != 0;
}

int main(int argc, char **argv)
{
    int failed = 0;

    test_platform_name = argc > 1 ? argv[1] : "auto";
    if (getenv("PLATFORM_TEST_LOG"))
        log_init(2, LOG_LEVEL_DEBUG);
    for (size_t s = 0; s < ARRAY_SIZE(suites); s++) {
        /* Nothing of another platform can be hijacked. */
        if (suites[s] == hijack_tests && strcmp(test_platform_name, "pvmexec:stub") != 0)
            continue;
        for (const struct test *t = suites[s]; t->name; t++) {
            bool wanted = argc < 3;

            for (int i = 2; i < argc; i++)
                wanted |= strcmp(argv[i], t->name) == 0;
            if (!wanted)
                continue;
            int r = run_test(t);
            if (r == 77)
                return 77;
            failed += r;
        }
    }
    return failed ? 1 : 0;
}
