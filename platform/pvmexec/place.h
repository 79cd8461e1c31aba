/* What place.c and line.c share. */
#ifndef PLATFORM_PVMEXEC_PLACE_H
#define PLATFORM_PVMEXEC_PLACE_H

#include "platform/pvmexec/stub.h"

/* --- place.c --- */

void place_load_add(struct place *s, int n);
/* Ends the present kind of waiting. */
void place_leave(struct stub_context *ctx);
/* Shares the CPU that it is on, or a quieter one; if there is but one, then without a pin. */
void place_share_here(struct stub_context *ctx);
/* Starts to spin, if the load allows it. */
bool place_try_to_spin(struct stub_context *ctx);
/* Starts to spin; that is counted already. */
void place_begin_spinning(struct stub_context *ctx);

/* --- line.c --- */

void line_init(struct place *s);
/* Whether the context makes calls so fast that it gains by spinning; and noting whether an awake one does not. */
bool line_is_chatty(const struct stub_context *ctx);
void line_set_dull(struct stub_context *ctx, bool dull);
/* The load has become less. `give_up`: because a spinning context stopped although it is still awake. */
void line_move(struct place *s, bool give_up);

#endif
