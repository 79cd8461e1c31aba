/*
 * Classic BPF: the part of checking and running a program that seccomp filters and socket filters share.
 */
#ifndef LIB_CBPF_H
#define LIB_CBPF_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Is instruction `pc` of `len` one that classic BPF has, with constants that it may have, and do its jumps stay inside? What a
 * load may reach is not looked at.
 */
bool cbpf_insn_is_valid(const struct sock_filter *f, unsigned int pc, unsigned int len);

/* A division by 0 gives 0: the caller ends the program before. */
static inline uint32_t cbpf_alu(uint16_t op, uint32_t a, uint32_t b)
{
    switch (op) {
    case BPF_ADD:
        return a + b;
    case BPF_SUB:
        return a - b;
    case BPF_MUL:
        return a * b;
    case BPF_DIV:
        return b ? a / b : 0;
    case BPF_MOD:
        return b ? a % b : 0;
    case BPF_AND:
        return a & b;
    case BPF_OR:
        return a | b;
    case BPF_XOR:
        return a ^ b;
    case BPF_LSH:
        return a << (b & 31);
    case BPF_RSH:
        return a >> (b & 31);
    default: /* BPF_NEG */
        return -a;
    }
}

static inline bool cbpf_compare(uint16_t op, uint32_t a, uint32_t b)
{
    switch (op) {
    case BPF_JEQ:
        return a == b;
    case BPF_JGT:
        return a > b;
    case BPF_JGE:
        return a >= b;
    default: /* BPF_JSET */
        return a & b;
    }
}

/*
 * What a program looks at. `load` is for the modes that depend on the caller (BPF_ABS, BPF_IND, BPF_MSH): the number that the
 * instruction asks for; false ends the program with 0.
 */
struct cbpf_input {
    bool (*load)(const void *data, const struct sock_filter *i, uint32_t x, uint32_t *value);
    const void *data;
    uint32_t len;
};

static inline bool cbpf_load(const struct cbpf_input *in, const struct sock_filter *i, uint32_t x, const uint32_t *mem,
                             uint32_t *value)
{
    switch (BPF_MODE(i->code)) {
    case BPF_MEM:
        *value = mem[i->k];
        return true;
    case BPF_LEN:
        *value = in->len;
        return true;
    case BPF_IMM:
        *value = i->k;
        return true;
    default:
        return in->load(in->data, i, x, value);
    }
}

/*
 * Runs a program that was found valid; a division by 0 ends it with 0. Inline, so that each kind of filter has its loads
 * compiled in: seccomp's run before each call.
 */
static inline uint32_t cbpf_run(const struct sock_filter *insns, unsigned int len, const struct cbpf_input *in)
{
    uint32_t a = 0, x = 0, mem[BPF_MEMWORDS] = {0};

    for (unsigned int pc = 0; pc < len; pc++) {
        const struct sock_filter *i = &insns[pc];
        uint32_t b = BPF_SRC(i->code) == BPF_X ? x : i->k;

        switch (BPF_CLASS(i->code)) {
        case BPF_LD:
            if (!cbpf_load(in, i, x, mem, &a))
                return 0;
            break;
        case BPF_LDX:
            if (!cbpf_load(in, i, x, mem, &x))
                return 0;
            if (BPF_MODE(i->code) == BPF_MSH)
                x = (x & 0xf) * 4;
            break;
        case BPF_ST:
            mem[i->k] = a;
            break;
        case BPF_STX:
            mem[i->k] = x;
            break;
        case BPF_ALU:
            if ((BPF_OP(i->code) == BPF_DIV || BPF_OP(i->code) == BPF_MOD) && b == 0)
                return 0;
            a = cbpf_alu(BPF_OP(i->code), a, b);
            break;
        case BPF_JMP:
            if (BPF_OP(i->code) == BPF_JA)
                pc += i->k;
            else
                pc += cbpf_compare(BPF_OP(i->code), a, b) ? i->jt : i->jf;
            break;
        case BPF_RET:
            return BPF_RVAL(i->code) == BPF_A ? a : i->k;
        default: /* BPF_MISC */
            if (BPF_MISCOP(i->code) == BPF_TAX)
                x = a;
            else
                a = x;
        }
    }
    return 0;
}

#endif
