/* Parsing of executables: what is accepted, and that hostile bytes are refused with the right error. */
#include "sentry/loader/elf.h"
#include "sentry/loader/script.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

struct buffer {
    char bytes[8192];
    size_t len;
};

static ssize_t read_buffer(void *arg, void *dst, size_t n, uint64_t off)
{
    struct buffer *b = arg;

    if (off >= b->len)
        return 0;
    if (n > b->len - off)
        n = b->len - off;
    memcpy(dst, b->bytes + off, n);
    return (ssize_t)n;
}

static Elf64_Ehdr *header(struct buffer *b)
{
    return (Elf64_Ehdr *)b->bytes;
}

static Elf64_Phdr *phdr(struct buffer *b, int i)
{
    return (Elf64_Phdr *)(b->bytes + sizeof(Elf64_Ehdr)) + i;
}

/* A program with one text segment, an interpreter and a stack header. */
static void make_program(struct buffer *b)
{
    memset(b, 0, sizeof(*b));
    b->len = 4096;
    memcpy(header(b)->e_ident, ELFMAG, SELFMAG);
    header(b)->e_ident[EI_CLASS] = ELFCLASS64;
    header(b)->e_type = ET_DYN;
    header(b)->e_machine = EM_X86_64;
    header(b)->e_entry = 0x1000;
    header(b)->e_phoff = sizeof(Elf64_Ehdr);
    header(b)->e_phentsize = sizeof(Elf64_Phdr);
    header(b)->e_phnum = 3;
    *phdr(b, 0) =
        (Elf64_Phdr){.p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_filesz = 4096, .p_memsz = 8192, .p_align = 0x200000};
    *phdr(b, 1) = (Elf64_Phdr){.p_type = PT_INTERP, .p_offset = 1024, .p_filesz = 9, .p_memsz = 9};
    memcpy(b->bytes + 1024, "/lib/ld.so", 9);
    b->bytes[1024 + 8] = 0;
    *phdr(b, 2) = (Elf64_Phdr){.p_type = PT_GNU_STACK, .p_flags = PF_R | PF_W};
}

static int parse(struct buffer *b, struct elf_image *img)
{
    struct elf_source src = {read_buffer, b};

    return elf_parse(&src, b->bytes, b->len, img);
}

Test(elf, accepts_a_position_independent_program)
{
    static struct buffer b;
    static struct elf_image img;

    make_program(&b);
    cr_assert_eq(parse(&b, &img), 0);
    cr_assert(img.position_independent);
    cr_assert_not(img.exec_stack);
    cr_assert_eq(img.nr_segments, 1);
    cr_assert_eq(img.segment[0].prot, PROT_READ | PROT_EXEC);
    cr_assert_eq(img.max_vaddr, 8192);
    cr_assert_eq(img.align, 0x200000);
    cr_assert_eq(img.phdr_vaddr, sizeof(Elf64_Ehdr));
    cr_assert_str_eq(img.interp, "/lib/ld.");
}

Test(elf, refuses_what_is_not_for_this_machine)
{
    static struct buffer b;
    static struct elf_image img;

    make_program(&b);
    header(&b)->e_ident[EI_CLASS] = ELFCLASS32;
    cr_assert_eq(parse(&b, &img), -ENOEXEC);
    make_program(&b);
    header(&b)->e_machine = EM_AARCH64;
    cr_assert_eq(parse(&b, &img), -ENOEXEC);
    make_program(&b);
    header(&b)->e_type = ET_REL;
    cr_assert_eq(parse(&b, &img), -ENOEXEC);
    b.len = 10;
    cr_assert_eq(parse(&b, &img), -ENOEXEC);
}

Test(elf, refuses_sums_that_overflow)
{
    static struct buffer b;
    static struct elf_image img;

    make_program(&b);
    phdr(&b, 0)->p_vaddr = UINT64_MAX & ~4095ULL;
    cr_assert_eq(parse(&b, &img), -ENOEXEC);
    make_program(&b);
    phdr(&b, 0)->p_memsz = UINT64_MAX;
    cr_assert_eq(parse(&b, &img), -ENOEXEC);
    make_program(&b);
    phdr(&b, 0)->p_filesz = phdr(&b, 0)->p_memsz + 1;
    cr_assert_eq(parse(&b, &img), -ENOEXEC);
    make_program(&b);
    phdr(&b, 0)->p_offset = UINT64_MAX & ~4095ULL;
    cr_assert_eq(parse(&b, &img), -ENOEXEC);
    make_program(&b);
    header(&b)->e_phoff = UINT64_MAX - 8;
    cr_assert_eq(parse(&b, &img), -ENOEXEC);
}

Test(elf, refuses_an_interpreter_without_end)
{
    static struct buffer b;
    static struct elf_image img;

    make_program(&b);
    b.bytes[1024 + 8] = 'x';
    cr_assert_eq(parse(&b, &img), -ENOEXEC);
    make_program(&b);
    phdr(&b, 1)->p_filesz = 5000;
    cr_assert_eq(parse(&b, &img), -ENOEXEC);
    make_program(&b);
    phdr(&b, 1)->p_offset = 1 << 20;
    cr_assert_eq(parse(&b, &img), -EIO);
}

static int parse_script(const char *text, struct script_line *line)
{
    return script_parse(text, strlen(text), line);
}

Test(script, splits_interpreter_and_one_argument)
{
    static struct script_line l;

    cr_assert_eq(parse_script("#! /bin/sh  -e  -x \nrest", &l), 0);
    cr_assert_str_eq(l.interp, "/bin/sh");
    cr_assert_str_eq(l.arg, "-e  -x");
    cr_assert_eq(parse_script("#!/bin/sh", &l), 0);
    cr_assert_str_eq(l.interp, "/bin/sh");
    cr_assert_str_eq(l.arg, "");
}

Test(script, refuses_a_line_without_interpreter)
{
    static struct script_line l;

    cr_assert_eq(parse_script("#!", &l), -ENOEXEC);
    cr_assert_eq(parse_script("#!   \n", &l), -ENOEXEC);
    cr_assert_eq(parse_script("echo", &l), -ENOEXEC);
}

Test(script, refuses_an_interpreter_name_that_is_cut_off)
{
    static struct script_line l;
    char text[400];

    memset(text, 'a', sizeof(text));
    memcpy(text, "#!/", 3);
    cr_assert_eq(script_parse(text, sizeof(text), &l), -ENOEXEC);
    text[100] = ' ';
    cr_assert_eq(script_parse(text, sizeof(text), &l), 0);
    cr_assert_eq(strlen(l.interp), 98);
}
