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

#endif
