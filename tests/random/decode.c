/* decode.c - from bytes to a program, and to text; and from a seed to bytes. */
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

/* ---- making ----------------------------------------------------------------------------------------------------- */

static uint64_t draw(uint64_t *state)
{
    uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* Each program has some kinds of steps only, so that what matters to one another meets more often. */
static unsigned choose_ops(uint8_t *chosen, uint64_t *state)
{
    unsigned n = 0, percent = 10 + (unsigned)(draw(state) % 60);
    for (unsigned op = OP_END + 1; op < OPS; op++)
        if (draw(state) % 100 < percent)
            chosen[n++] = (uint8_t)op;
    if (n == 0)
        chosen[n++] = OP_YIELD;
    return n;
}

static uint8_t choose_op(const uint8_t *chosen, unsigned n, uint64_t *state)
{
    unsigned r = (unsigned)(draw(state) % 100);
    return r < 16 ? OP_END : r < 28 ? OP_SPAWN : chosen[draw(state) % n];
}

size_t random_program_make(uint8_t *bytes, uint64_t seed)
{
    uint64_t state = seed;
    uint8_t chosen[OPS];
    unsigned n = choose_ops(chosen, &state),
             steps = 2 + (unsigned)(draw(&state) % (draw(&state) % 2 ? 30 : RANDOM_STEPS - 2));
    uint64_t header = draw(&state);
    memcpy(bytes, &header, RANDOM_HEADER);
    for (unsigned i = 0; i < steps; i++) {
        uint8_t *s = bytes + RANDOM_HEADER + i * RANDOM_STEP;
        uint64_t values = draw(&state);
        s[0] = choose_op(chosen, n, &state);
        memcpy(s + 1, &values, 3);
    }
    return RANDOM_HEADER + steps * RANDOM_STEP;
}
