/* Resource usage: what getrusage(2) and wait4(2) report. */
#ifndef SENTRY_KERNEL_USAGE_H
#define SENTRY_KERNEL_USAGE_H

#include <sys/resource.h>

struct cputime;
struct task;
struct tgroup;

/* Adds what a thread that ends has used to its process's. siglock held. */
void usage_fold_thread(struct tgroup *tg, struct task *t, const struct cputime *times);
/* Notes the memory figures of the address space that the thread is about to leave. */
void usage_note_mm(struct task *t);
/* a += b; the greatest of the two maxrss. */
void usage_add(struct rusage *a, const struct rusage *b);
/* A live thread, a process with its dead threads, or its waited-for descendants. Take what locks they need. */
void usage_of_task(struct task *t, struct rusage *out);
void usage_of_tgroup(struct tgroup *tg, struct rusage *out);
void usage_of_children(struct tgroup *tg, struct rusage *out);

#endif
