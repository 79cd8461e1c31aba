/*
 * The guest half of the leak test. For each line of standard input, a number: forks, executes itself and waits that often, then
 * says "done". Executed, it ends at once.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static int life(void)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        execl("/leak_forks", "leak_forks", "end", (char *)NULL);
        _exit(1);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

int main(int argc, char **argv)
{
    char line[32];

    if (argc > 1)
        return 0;
    while (fgets(line, sizeof(line), stdin)) {
        for (int n = atoi(line); n > 0; n--) {
            if (!life()) {
                perror("fork, exec, wait");
                return 1;
            }
        }
        puts("done");
        fflush(stdout);
    }
    return 0;
}
