/*
 * Whether small anonymous mappings are touched as soon as they are made.
 *
 * Most programs do so, and then mapping the pages within mmap(2) saves the fault. Some reserve and never touch, and then it
 * would cost for nothing. So an address space keeps a score: each small mapping that is touched before the next one is made
 * counts for it, each that is not against it. Now and then one is left to its fault to see whether the score still holds.
 */
#include "sentry/mm/mm_internal.h"

#define SCORE_MAX   8
#define SCORE_EAGER 4
#define TRY_EVERY   32

bool mm_predict_touch(struct mm *mm, uint64_t start, uint64_t len)
{
    struct mm_predictor *p = &mm->predictor;

    if (p->pending_len)
        p->score = p->score > 2 ? p->score - 2 : 0;
    p->pending_len = 0;
    if (p->score >= SCORE_EAGER && ++p->nr % TRY_EVERY)
        return true;
    p->pending = start;
    p->pending_len = len;
    return false;
}

void mm_predict_learn(struct mm *mm, uint64_t addr)
{
    struct mm_predictor *p = &mm->predictor;

    if (addr - p->pending < p->pending_len) {
        p->pending_len = 0;
        p->score += p->score < SCORE_MAX;
    }
}
