"""Runs a work: round by round over all its calls, each round in another order, so that what drifts drifts for all."""

import os

from . import child, lines


def place(bin_dir, argv):
    """The arguments that are programs of ours, with their folder."""
    return [os.path.join(bin_dir, a) if os.path.isfile(os.path.join(bin_dir, a)) else a for a in argv]


def name_of(call):
    """The program that does the work, under `launch` or not."""
    return call.argv[2] if call.argv[0] == 'launch' else call.argv[0]


def present(work, bin_dir, results):
    """The calls whose programs were built."""
    there = []
    for call in work.calls:
        if os.path.isfile(os.path.join(bin_dir, name_of(call))):
            there.append(call)
        elif call.column in ('limit', 'weft'):
            results.problem('%s was not built' % name_of(call))
        else:
            results.missing.add(call.column)
    return there


def one(work, call, bin_dir, results):
    """Whether it is worth calling again."""
    try:
        out = child.run(place(bin_dir, call.argv), work.limit, {'BENCH_ROUNDS': '1'})
    except child.Unknown:
        return False
    except child.Failed as why:
        results.problem('%s %s' % (' '.join(call.argv), why))
        return False
    for metric, value in lines.measurements(out):
        results.add(call.names.get(metric, metric), call.column, value)
    return True


def run(work, rounds, bin_dir, results):
    calls = present(work, bin_dir, results)
    for turn in range(min(rounds, work.rounds)):
        order = [calls[(i + turn) % len(calls)] for i in range(len(calls))]
        given_up = [call for call in order if not one(work, call, bin_dir, results)]
        calls = [call for call in calls if call not in given_up]
