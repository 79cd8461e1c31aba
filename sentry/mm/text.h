/* Reading and patching program text for the platform: struct platform_text_ops over a struct mm. */
#ifndef SENTRY_MM_TEXT_H
#define SENTRY_MM_TEXT_H

#include "platform/platform.h"

extern const struct platform_text_ops mm_text_ops;

#endif
