/*
 * XSAVE states: sizes from CPUID leaf 0xD, the initial state, and the checks that XRSTOR makes (SDM vol. 1, 13.8), so that a
 * state that passes cannot fault when the kernel loads it.
 */
#include "platform/arch/fpstate.h"

#include <cpuid.h>
#include <errno.h>
#include <string.h>

/* Offsets in the legacy region (FXSAVE format) and the header behind it. */
enum {
    FX_FCW = 0,
    FX_MXCSR = 24,
    FX_MXCSR_MASK = 28,
    FX_SW_RESERVED = 464,
    XSAVE_XSTATE_BV = 512,
    XSAVE_XCOMP_BV = 520,
    XSAVE_HEADER_RESERVED = 528,
    XSAVE_EXTENDED = 576,
};

#define XCR0_FP_SSE 3ULL
#define XCR0_PKRU   (1ULL << 9)
/* AMX tiles need a permission per process that the sentry does not ask for, so guests do not have them. */
#define XCR0_TILES ((1ULL << 17) | (1ULL << 18))

static uint64_t read_xcr0(void)
{
    uint32_t lo, hi;

    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return lo | (uint64_t)hi << 32;
}

static uint32_t read_mxcsr_mask(void)
{
    _Alignas(16) unsigned char fx[512] = {0};
    uint32_t mask;

    __asm__ volatile("fxsave %0" : "=m"(fx));
    memcpy(&mask, fx + FX_MXCSR_MASK, sizeof(mask));
    return mask ? mask : 0xffbf; /* the value that a zero stands for, SDM vol. 1, 11.6.6 */
}

int fp_layout_probe(struct fp_layout *fp)
{
    uint32_t a, b, c, d;

    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || __get_cpuid_max(0, NULL) < 0xd)
        return -ENOTSUP;
    __cpuid_count(0xd, 0, a, b, c, d);
    fp->host_size = b;
    fp->features = read_xcr0() & ~XCR0_TILES;
    fp->size = XSAVE_EXTENDED;
    for (unsigned int i = 2; i < 63; i++) {
        if (!(fp->features & (1ULL << i)))
            continue;
        __cpuid_count(0xd, i, a, b, c, d);
        if ((size_t)a + b > fp->size)
            fp->size = (size_t)a + b;
        if ((1ULL << i) == XCR0_PKRU)
            fp->pkru = b;
    }
    fp->mxcsr_mask = read_mxcsr_mask();
    return 0;
}

void fp_init_state(const struct fp_layout *fp, void *buf)
{
    unsigned char *p = buf;
    uint16_t fcw = 0x37f;
    uint32_t mxcsr = 0x1f80;
    uint64_t bv = XCR0_FP_SSE;

    memset(p, 0, fp->size);
    memcpy(p + FX_FCW, &fcw, sizeof(fcw));
    memcpy(p + FX_MXCSR, &mxcsr, sizeof(mxcsr));
    memcpy(p + FX_MXCSR_MASK, &fp->mxcsr_mask, sizeof(fp->mxcsr_mask));
    memcpy(p + XSAVE_XSTATE_BV, &bv, sizeof(bv));
}

int fp_check(const struct fp_layout *fp, const void *buf)
{
    const unsigned char *p = buf;
    uint64_t bv, header[7];
    uint32_t mxcsr;

    memcpy(&mxcsr, p + FX_MXCSR, sizeof(mxcsr));
    memcpy(&bv, p + XSAVE_XSTATE_BV, sizeof(bv));
    memcpy(header, p + XSAVE_XCOMP_BV, sizeof(header));
    if ((mxcsr & ~fp->mxcsr_mask) || (bv & ~fp->features))
        return -EINVAL;
    for (size_t i = 0; i < 7; i++)
        if (header[i])
            return -EINVAL;
    return 0;
}

void fp_scrub(const struct fp_layout *fp, void *buf)
{
    unsigned char *p = buf;
    uint64_t bv;
    uint32_t mxcsr;

    memset(p + FX_SW_RESERVED, 0, XSAVE_XSTATE_BV - FX_SW_RESERVED);
    memset(p + XSAVE_XCOMP_BV, 0, XSAVE_EXTENDED - XSAVE_XCOMP_BV);
    memcpy(&bv, p + XSAVE_XSTATE_BV, sizeof(bv));
    /* The x87 and SSE parts are there whether in use or not, as in the kernel's frames; so the bits invite changes. */
    bv = (bv & fp->features) | XCR0_FP_SSE;
    memcpy(p + XSAVE_XSTATE_BV, &bv, sizeof(bv));
    memcpy(&mxcsr, p + FX_MXCSR, sizeof(mxcsr));
    mxcsr &= fp->mxcsr_mask;
    memcpy(p + FX_MXCSR, &mxcsr, sizeof(mxcsr));
}

void fp_put_pkru(const struct fp_layout *fp, void *buf, uint32_t pkru)
{
    unsigned char *p = buf;
    uint64_t bv;

    if (!fp->pkru)
        return;
    memcpy(&bv, p + XSAVE_XSTATE_BV, sizeof(bv));
    bv |= XCR0_PKRU;
    memcpy(p + XSAVE_XSTATE_BV, &bv, sizeof(bv));
    memcpy(p + fp->pkru, &pkru, sizeof(pkru));
}

uint32_t fp_take_pkru(const struct fp_layout *fp, void *buf, uint32_t otherwise)
{
    unsigned char *p = buf;
    uint32_t pkru;
    uint64_t bv;

    memcpy(&bv, p + XSAVE_XSTATE_BV, sizeof(bv));
    if (!fp->pkru || !(bv & XCR0_PKRU))
        return otherwise;
    memcpy(&pkru, p + fp->pkru, sizeof(pkru));
    bv &= ~XCR0_PKRU;
    memcpy(p + XSAVE_XSTATE_BV, &bv, sizeof(bv));
    return pkru;
}
