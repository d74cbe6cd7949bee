/* random_programs.c - random programs by hand:
 *     random_programs [--seed N] [--count N] [--workers N] [--for SECONDS] [--pure] [--verbose] [--whole] [--bytes HEX]
 * Without a count or a time it runs until something is wrong. --bytes runs that one program, in this very process. */
#include <getopt.h>
#include <inttypes.h>
#include <random/explore.h>
#include <stdlib.h>
#include <string.h>

static const struct option known[] = {{"seed", required_argument, NULL, 's'},
                                      {"count", required_argument, NULL, 'c'},
                                      {"workers", required_argument, NULL, 'w'},
                                      {"for", required_argument, NULL, 'f'},
                                      {"pure", no_argument, NULL, 'p'},
                                      {"verbose", no_argument, NULL, 'v'},
                                      {"whole", no_argument, NULL, 'h'},
                                      {"bytes", required_argument, NULL, 'b'},
                                      {NULL, 0, NULL, 0}};

static size_t parse_hex(const char *text, uint8_t *bytes)
{
    size_t n = 0;
    for (; n < RANDOM_BYTES && text[2 * n] && text[2 * n + 1]; n++) {
        char digits[] = {text[2 * n], text[2 * n + 1], '\0'};
        bytes[n] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return n;
}

static int run_bytes(const random_plan *plan, const char *hex)
{
    static random_trace trace;
    uint8_t bytes[RANDOM_BYTES];
    size_t n = parse_hex(hex, bytes);
    random_options o = random_options_of(plan, plan->seed);
    o.trace = &trace;
    for (uint64_t i = 0; i < (plan->count ? plan->count : 1); i++)
        if (random_program_run(bytes, n, &o) < 0)
            return 1;
    return 0;
}

static int explore(const random_plan *plan)
{
    int64_t ran = random_explore(plan);
    if (ran < 0)
        return 1;
    printf("%" PRId64 " random programs from seed %" PRIu64 " on: all as they should be\n", ran, plan->seed);
    return 0;
}

int main(int argc, char **argv)
{
    random_plan plan = {0};
    const char *hex = NULL;
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        uint64_t value = optarg && c != 'b' ? strtoull(optarg, NULL, 0) : 0;
        switch (c) {
        case 's':
            plan.seed = value;
            break;
        case 'c':
            plan.count = value;
            break;
        case 'w':
            plan.workers = (unsigned)value;
            break;
        case 'f':
            plan.seconds = (unsigned)value;
            break;
        case 'p':
            plan.pure = true;
            break;
        case 'v':
            plan.verbose = true;
            break;
        case 'h':
            plan.whole = true;
            break;
        case 'b':
            hex = optarg;
            break;
        default:
            return 2;
        }
    }
    return hex ? run_bytes(&plan, hex) : explore(&plan);
}
