/*
 * An error with its story, for what a person at a command line will read: one line of text that says what failed and why.
 * Functions that fill one return a negative errno as usual; the text is only for printing.
 */
#ifndef LIB_ERROR_H
#define LIB_ERROR_H

#include "lib/compiler.h"

struct error {
    char text[512];
};

/*
 * Sets the text; `errnum` > 0 adds ": " and its description. Returns -errnum, or -EINVAL for 0, so that a caller can
 * `return error_set(...)`.
 */
int error_set_text(struct error *e, int errnum, const char *fmt, ...) printf_like(3, 4);
#define error_set(e, errnum, ...) error_negative(error_set_text(e, errnum, __VA_ARGS__))
/* Says to static analysis what error_set() returns. */
static inline int error_negative(int r)
{
    return r < 0 ? r : -1;
}
/* Puts "text: " before what is there, as an error goes up. Returns `r`. */
int error_prefix(struct error *e, int r, const char *fmt, ...) printf_like(3, 4);

#endif
