"""Runs a work: round by round over all its calls, each round in another order, so that what drifts drifts for all."""

import os
import time

from . import child, lines

LEAST = 2  # rounds, however slow the machine
CHANCES = 2  # failures, before a call is given up


def programs(argv):
    """Where in @argv the programs stand: `launch` calls another one."""
    return (0, 2) if argv[0] == 'launch' else (0,)


def place(bin_dir, argv):
    """@argv with the folder before its programs."""
    return [os.path.join(bin_dir, word) if i in programs(argv) else word for i, word in enumerate(argv)]


def name_of(call):
    """The program that does the work."""
    return call.argv[programs(call.argv)[-1]]


def present(work, bin_dir, results):
    """The calls whose programs were built."""
    there = []
    for call in work.calls:
        if os.path.isfile(os.path.join(bin_dir, name_of(call))):
            there.append(call)
        else:
            results.absent(name_of(call))
    return there


def one(work, call, bin_dir, results):
    """What this call loses: nothing, one of its CHANCES, or all of them as it does not know the work."""
    try:
        out = child.run(place(bin_dir, call.argv), work.limit, {'BENCH_ROUNDS': '1'})
    except child.Unknown:
        return CHANCES
    except child.Failed as why:
        results.problem('%s %s' % (' '.join(call.argv), why))
        return 1
    for metric, value in lines.measurements(out):
        results.add(call.names.get(metric, metric), call.column, value)
    return 0


def run(work, rounds, budget, bin_dir, results):
    """At most so many rounds; and none begins, but for the first few, when the work has taken @budget seconds."""
    calls = present(work, bin_dir, results)
    chances = [CHANCES] * len(calls)
    end = time.monotonic() + budget
    for turn in range(min(rounds, work.rounds)):
        if turn >= LEAST and time.monotonic() > end:
            break
        for i in ((i + turn) % len(calls) for i in range(len(calls))):
            if chances[i] > 0:
                chances[i] -= one(work, calls[i], bin_dir, results)
