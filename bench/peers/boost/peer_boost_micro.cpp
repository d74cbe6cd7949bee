/* peer_boost_micro.cpp - Boost.Context's side of the one work that it has a word for.   peer_boost_micro switch
 *
 * By fcontext, on which its fibers and continuations are built: nothing of Boost's is faster. */
#include "bench.h"

#include <boost/context/detail/fcontext.hpp>

using namespace boost::context::detail;

static constexpr int PAIRS = 5000000, ROUNDS = 11, STACK = 65536;

static void for_ever(transfer_t from)
{
    for (;;)
        from = jump_fcontext(from.fctx, from.data);
}

/* Nanoseconds per pair. */
static double switch_round(void *)
{
    alignas(16) static char stack[STACK];
    fcontext_t inside = make_fcontext(stack + STACK, STACK, for_ever);
    int64_t start = bench_now();
    for (int i = 0; i < PAIRS; i++)
        inside = jump_fcontext(inside, nullptr).fctx;
    return (double)(bench_now() - start) / PAIRS;
}

int main(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "switch") != 0)
        return 2;
    bench_measure("switch", "ns/pair", ROUNDS, switch_round, nullptr);
    return 0;
}
