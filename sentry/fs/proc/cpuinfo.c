/*
 * /proc/cpuinfo, from the CPUID instruction: what guests can find out for themselves, in the words of Linux. One core after
 * another of one package, for as many CPUs as the guest has.
 */
#include "sentry/fs/proc/proc.h"

#include <cpuid.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct flag {
    const char *name;
    unsigned int leaf, sub, reg, bit; /* reg: 0 eax, 1 ebx, 2 ecx, 3 edx */
};

#define A 0
#define B 1
#define C 2
#define D 3
/* Names and order as in arch/x86/include/asm/cpufeatures.h; those that user code can use or programs look for. */
static const struct flag flags[] = {
    {"fpu", 1, 0, D, 0},
    {"vme", 1, 0, D, 1},
    {"de", 1, 0, D, 2},
    {"pse", 1, 0, D, 3},
    {"tsc", 1, 0, D, 4},
    {"msr", 1, 0, D, 5},
    {"pae", 1, 0, D, 6},
    {"mce", 1, 0, D, 7},
    {"cx8", 1, 0, D, 8},
    {"apic", 1, 0, D, 9},
    {"sep", 1, 0, D, 11},
    {"mtrr", 1, 0, D, 12},
    {"pge", 1, 0, D, 13},
    {"mca", 1, 0, D, 14},
    {"cmov", 1, 0, D, 15},
    {"pat", 1, 0, D, 16},
    {"pse36", 1, 0, D, 17},
    {"clflush", 1, 0, D, 19},
    {"mmx", 1, 0, D, 23},
    {"fxsr", 1, 0, D, 24},
    {"sse", 1, 0, D, 25},
    {"sse2", 1, 0, D, 26},
    {"ss", 1, 0, D, 27},
    {"ht", 1, 0, D, 28},
    {"syscall", 0x80000001, 0, D, 11},
    {"nx", 0x80000001, 0, D, 20},
    {"mmxext", 0x80000001, 0, D, 22},
    {"fxsr_opt", 0x80000001, 0, D, 25},
    {"pdpe1gb", 0x80000001, 0, D, 26},
    {"rdtscp", 0x80000001, 0, D, 27},
    {"lm", 0x80000001, 0, D, 29},
    {"constant_tsc", 0x80000007, 0, D, 8},
    {"nonstop_tsc", 0x80000007, 0, D, 8},
    {"pni", 1, 0, C, 0},
    {"pclmulqdq", 1, 0, C, 1},
    {"ssse3", 1, 0, C, 9},
    {"fma", 1, 0, C, 12},
    {"cx16", 1, 0, C, 13},
    {"pcid", 1, 0, C, 17},
    {"sse4_1", 1, 0, C, 19},
    {"sse4_2", 1, 0, C, 20},
    {"x2apic", 1, 0, C, 21},
    {"movbe", 1, 0, C, 22},
    {"popcnt", 1, 0, C, 23},
    {"aes", 1, 0, C, 25},
    {"xsave", 1, 0, C, 26},
    {"avx", 1, 0, C, 28},
    {"f16c", 1, 0, C, 29},
    {"rdrand", 1, 0, C, 30},
    {"hypervisor", 1, 0, C, 31},
    {"lahf_lm", 0x80000001, 0, C, 0},
    {"cmp_legacy", 0x80000001, 0, C, 1},
    {"abm", 0x80000001, 0, C, 5},
    {"sse4a", 0x80000001, 0, C, 6},
    {"misalignsse", 0x80000001, 0, C, 7},
    {"3dnowprefetch", 0x80000001, 0, C, 8},
    {"xop", 0x80000001, 0, C, 11},
    {"fma4", 0x80000001, 0, C, 16},
    {"tbm", 0x80000001, 0, C, 21},
    {"topoext", 0x80000001, 0, C, 22},
    {"fsgsbase", 7, 0, B, 0},
    {"bmi1", 7, 0, B, 3},
    {"hle", 7, 0, B, 4},
    {"avx2", 7, 0, B, 5},
    {"smep", 7, 0, B, 7},
    {"bmi2", 7, 0, B, 8},
    {"erms", 7, 0, B, 9},
    {"invpcid", 7, 0, B, 10},
    {"rtm", 7, 0, B, 11},
    {"avx512f", 7, 0, B, 16},
    {"avx512dq", 7, 0, B, 17},
    {"rdseed", 7, 0, B, 18},
    {"adx", 7, 0, B, 19},
    {"smap", 7, 0, B, 20},
    {"avx512ifma", 7, 0, B, 21},
    {"clflushopt", 7, 0, B, 23},
    {"clwb", 7, 0, B, 24},
    {"avx512cd", 7, 0, B, 28},
    {"sha_ni", 7, 0, B, 29},
    {"avx512bw", 7, 0, B, 30},
    {"avx512vl", 7, 0, B, 31},
    {"xsaveopt", 13, 1, A, 0},
    {"xsavec", 13, 1, A, 1},
    {"xgetbv1", 13, 1, A, 2},
    {"xsaves", 13, 1, A, 3},
    {"avx_vnni", 7, 1, A, 4},
    {"avx512_bf16", 7, 1, A, 5},
    {"clzero", 0x80000008, 0, B, 0},
    {"avx512vbmi", 7, 0, C, 1},
    {"umip", 7, 0, C, 2},
    {"pku", 7, 0, C, 3},
    {"ospke", 7, 0, C, 4},
    {"avx512_vbmi2", 7, 0, C, 6},
    {"gfni", 7, 0, C, 8},
    {"vaes", 7, 0, C, 9},
    {"vpclmulqdq", 7, 0, C, 10},
    {"avx512_vnni", 7, 0, C, 11},
    {"avx512_bitalg", 7, 0, C, 12},
    {"avx512_vpopcntdq", 7, 0, C, 14},
    {"rdpid", 7, 0, C, 22},
    {"fsrm", 7, 0, D, 4},
    {"serialize", 7, 0, D, 14},
    {"amx_bf16", 7, 0, D, 22},
    {"avx512_fp16", 7, 0, D, 23},
    {"amx_tile", 7, 0, D, 24},
    {"amx_int8", 7, 0, D, 25},
};
#undef A
#undef B
#undef C
#undef D

static bool has_flag(const struct flag *f)
{
    unsigned int r[4];

    return __get_cpuid_count(f->leaf, f->sub, &r[0], &r[1], &r[2], &r[3]) && (r[f->reg] >> f->bit & 1);
}

static void brand_string(char out[49])
{
    unsigned int r[12] = {0};

    for (unsigned int i = 0; i < 3; i++)
        if (!__get_cpuid(0x80000002 + i, &r[4 * i], &r[4 * i + 1], &r[4 * i + 2], &r[4 * i + 3]))
            strcpy((char *)r, "unknown");
    memcpy(out, r, 48);
    out[48] = 0;
    for (size_t n = strlen(out); n > 0 && out[n - 1] == ' '; n--)
        out[n - 1] = 0;
    memmove(out, out + strspn(out, " "), strlen(out + strspn(out, " ")) + 1);
}

/* The last-level size of what CPUID says of the L2 cache, in KB: the "cache size" line. */
static unsigned int cache_kb(void)
{
    unsigned int a, b, c, d;

    return __get_cpuid(0x80000006, &a, &b, &c, &d) ? c >> 16 : 0;
}

/* How fast the time-stamp counter runs: it counts at the nominal frequency. */
static unsigned int measured_mhz(void)
{
    struct timespec pause = {.tv_nsec = 1000000};
    int64_t ns = kernel_monotonic_ns();
    uint64_t tsc = __builtin_ia32_rdtsc();

    nanosleep(&pause, NULL);
    tsc = __builtin_ia32_rdtsc() - tsc;
    ns = kernel_monotonic_ns() - ns;
    return ns > 0 ? (unsigned int)(tsc * 1000 / (uint64_t)ns) : 0;
}

/* What Linux calls "cpu MHz" when it knows nothing better: the nominal frequency. */
static unsigned int cpu_mhz(void)
{
    unsigned int a, b, c, d;

    if (__get_cpuid(0x16, &a, &b, &c, &d) && a & 0xffff)
        return a & 0xffff;
    if (__get_cpuid(0x15, &a, &b, &c, &d) && a && b && c)
        return (unsigned int)((uint64_t)c * b / a / 1000000);
    return measured_mhz();
}

int proc_cpuinfo(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    unsigned int a = 0, b = 0, cx = 0, d = 0, max = 0, bits = 0, family, model, stepping;
    unsigned int mhz = cpu_mhz(), cache = cache_kb();
    char vendor[13] = "", brand[49];
    struct seq known = {0};

    __get_cpuid(0, &max, &b, &cx, &d);
    memcpy(vendor, &b, 4);
    memcpy(vendor + 4, &d, 4);
    memcpy(vendor + 8, &cx, 4);
    brand_string(brand);
    __get_cpuid(1, &a, &b, &cx, &d);
    family = a >> 8 & 15;
    model = a >> 4 & 15;
    stepping = a & 15;
    if (family == 15 || family == 6)
        model |= (a >> 16 & 15) << 4;
    if (family == 15)
        family += a >> 20 & 0xff;
    if (!__get_cpuid(0x80000008, &bits, &b, &cx, &d))
        bits = 48 << 8 | 40;
    for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
        if (has_flag(&flags[i]))
            seq_printf(&known, " %s", flags[i].name);
    seq_putc(&known, 0);
    for (unsigned int cpu = 0; cpu < n->k->nr_cpus; cpu++) {
        seq_printf(s, "processor\t: %u\nvendor_id\t: %s\ncpu family\t: %u\nmodel\t\t: %u\nmodel name\t: %s\nstepping\t: %u\n",
                   cpu, vendor, family, model, brand, stepping);
        seq_printf(s, "microcode\t: 0xffffffff\ncpu MHz\t\t: %u.000\ncache size\t: %u KB\n", mhz, cache);
        seq_printf(s,
                   "physical id\t: 0\nsiblings\t: %u\ncore id\t\t: %u\ncpu cores\t: %u\napicid\t\t: %u\ninitial apicid\t: %u\n",
                   n->k->nr_cpus, cpu, n->k->nr_cpus, cpu, cpu);
        seq_printf(s, "fpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: %u\nwp\t\t: yes\nflags\t\t:%s\nbugs\t\t:\n", max,
                   known.failed ? "" : known.buf);
        seq_printf(s, "bogomips\t: %u.00\nclflush size\t: 64\ncache_alignment\t: 64\n", mhz * 2);
        seq_printf(s, "address sizes\t: %u bits physical, %u bits virtual\npower management:\n\n", bits & 0xff,
                   bits >> 8 & 0xff);
    }
    if (known.failed)
        s->failed = true;
    free(known.buf);
    return 0;
}
