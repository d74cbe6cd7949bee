/* decode.c - from bytes to a program, and to text. */
#include "decode.h"

#include <string.h>

static const struct {
    const char *name;
    unsigned kind;
} ops[] = {
#define OP(name, kind) {#name, kind},
    RANDOM_OPS(OP)
#undef OP
};

const char *random_op_name(unsigned op) { return ops[op].name; }
unsigned random_op_kind(unsigned op) { return ops[op].kind; }

/* ---- decoding --------------------------------------------------------------------------------------------------- */

/* What there is no room for becomes something that there is room for. */
static uint8_t fitting(const program *p, uint8_t op, bool pure, unsigned depth)
{
    if (pure && (ops[op].kind & IMPURE))
        op = ops[op].kind & BLOCK ? OP_SPAWN : OP_YIELD;
    if ((ops[op].kind & TASK) && p->tasks == RANDOM_TASKS)
        op = ops[op].kind & BLOCK ? OP_SCOPE : OP_YIELD;
    return (ops[op].kind & BLOCK) && depth == RANDOM_DEPTH ? OP_YIELD : op;
}

void random_decode(program *p, const uint8_t *bytes, size_t n, bool pure)
{
    unsigned open[RANDOM_DEPTH], depth = 0;
    *p = (program){.tasks = 1};
    memcpy(p->header, bytes, n < RANDOM_HEADER ? n : RANDOM_HEADER);
    for (size_t i = RANDOM_HEADER; i + RANDOM_STEP <= n && p->steps < RANDOM_STEPS; i += RANDOM_STEP) {
        uint8_t op = fitting(p, bytes[i] % OPS, pure, depth);
        if (op == OP_END) {
            if (depth > 0)
                p->step[open[--depth]].end = (uint16_t)p->steps;
            continue;
        }
        step *s = &p->step[p->steps];
        *s = (step){.op = op, .a = bytes[i + 1], .b = bytes[i + 2], .c = bytes[i + 3]};
        if (ops[op].kind & TASK)
            s->task = (uint8_t)p->tasks++;
        if (ops[op].kind & BLOCK)
            open[depth++] = p->steps;
        p->steps++;
    }
    while (depth > 0)
        p->step[open[--depth]].end = (uint16_t)p->steps;
}

/* ---- text ------------------------------------------------------------------------------------------------------- */

static void print_steps(FILE *out, const program *p, unsigned from, unsigned to, unsigned depth)
{
    for (unsigned i = from; i < to; i++) {
        const step *s = &p->step[i];
        fprintf(out, "%4u %*s%s %u %u %u", i, (int)depth * 2, "", ops[s->op].name, s->a, s->b, s->c);
        if (s->task)
            fprintf(out, " = task %u", s->task);
        fputc('\n', out);
        if (ops[s->op].kind & BLOCK) {
            print_steps(out, p, i + 1, s->end, depth + 1);
            i = s->end - 1u;
        }
    }
}

void random_program_print(FILE *out, const uint8_t *bytes, size_t n, const random_options *o)
{
    program p;
    random_decode(&p, bytes, n, o->pure);
    fprintf(out, "program: header %u %u %u %u, %u steps, %u tasks\n", p.header[0], p.header[1], p.header[2],
            p.header[3], p.steps, p.tasks);
    print_steps(out, &p, 0, p.steps, 0);
}
