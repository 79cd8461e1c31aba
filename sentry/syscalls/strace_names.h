/* Names for flag words and enumerations that the trace shows: tables in strace_names.c. */
#ifndef SENTRY_SYSCALLS_STRACE_NAMES_H
#define SENTRY_SYSCALLS_STRACE_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct strace_name {
    uint64_t value;
    const char *name;
};

/* A table: its entries, and whether values are bits to be joined by "|" or one of a list. Ended by name NULL. */
struct strace_table {
    const struct strace_name *names;
    bool bits;
    uint64_t mask; /* of an enumeration in the low bits of a flag word (O_ACCMODE); 0: none */
};

/* The table for an argument kind of table.def; NULL: none. */
const struct strace_table *strace_table_of(char kind);
/* Writes the name(s) of `value`, as "A|B|0x40", and returns the length. */
size_t strace_print_names(const struct strace_table *t, uint64_t value, char *buf, size_t len);

#endif
