/* Names in the system-call trace: sentry/syscalls/strace_names.c. */
#include "sentry/syscalls/strace_names.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/mman.h>

static const char *names(char kind, uint64_t value)
{
    static char buf[256];

    strace_print_names(strace_table_of(kind), value, buf, sizeof(buf));
    return buf;
}

Test(strace, open_flags_have_their_access_mode_first)
{
    cr_assert_str_eq(names('O', O_RDONLY), "O_RDONLY");
    cr_assert_str_eq(names('O', O_RDWR | O_CREAT | O_CLOEXEC), "O_RDWR|O_CREAT|O_CLOEXEC");
    cr_assert_str_eq(names('O', O_RDONLY | O_DIRECTORY), "O_RDONLY|O_DIRECTORY");
}

Test(strace, unknown_bits_are_shown_as_a_number)
{
    cr_assert_str_eq(names('M', MAP_PRIVATE | MAP_ANONYMOUS | 0x4000000), "MAP_PRIVATE|MAP_ANONYMOUS|0x4000000");
}

Test(strace, an_empty_set_of_bits_is_zero)
{
    cr_assert_str_eq(names('P', 0), "0");
}

Test(strace, an_enumeration_has_one_name)
{
    cr_assert_str_eq(names('k', F_GETFL), "F_GETFL");
    cr_assert_str_eq(names('k', 4242), "0x1092");
}

Test(strace, a_small_buffer_is_not_overrun)
{
    char buf[8];

    cr_assert_lt(strace_print_names(strace_table_of('O'), 0x7fffffff, buf, sizeof(buf)), sizeof(buf));
}
