"""What is measured, and by which program. A work has a name, programs by column, and how long one of them may take."""

from collections import namedtuple

# One call of a program: its column, its arguments, and what its metrics are called in the table where that is not what it prints.
Call = namedtuple('Call', 'column argv names')
# @rounds: at most so many, of a long one.
Work = namedtuple('Work', 'name calls limit rounds')

PEERS = ('tokio', 'go', 'uv', 'asio', 'boost')
MOST_ROUNDS = 7


def micro(name, program, workers, limit=60, rounds=MOST_ROUNDS, peers=PEERS, floor=True):
    """A work that the limits and the peers know under its name. @program: weft's; @workers: with how many each runs."""
    calls = [Call('limit', ['limits', name], {})] if floor else []
    for count in workers:
        calls.append(Call('weft', [program] + count, {}))
        calls += [Call(peer, ['peer_%s_micro' % peer, name] + count, {}) for peer in peers]
    return Work(name, calls, limit, rounds)


def pingpong(workers):
    """weft's program does both kinds, Tokio's one at a time."""
    both = micro('pingpong', 'pingpong', workers)
    return both._replace(calls=both.calls + [Call('tokio', ['peer_tokio_micro', 'pingpong_notify'] + count, {}) for count in workers])


def cold():
    launches = '10'
    calls = []
    for count in ('1', '2'):
        names = {'launch': 'cold_w' + count}
        calls.append(Call('limit', ['launch', launches, 'limits', 'cold'], names))
        calls.append(Call('weft', ['launch', launches, 'cold', count], names))
        calls += [Call(peer, ['launch', launches, 'peer_%s_micro' % peer, 'cold', count], names) for peer in PEERS]
    return Work('cold', calls, 60, MOST_ROUNDS)


def alone(name, argv, rounds=1):
    """A work that only weft has."""
    return Work(name, [Call('weft', argv, {})], 120, rounds)


def grow(what, counts, peers=()):
    """The cost of one more among so many: a work for each count, named for it."""
    name = 'grow_' + what
    found = []
    for n in counts:
        names = {metric: '%s_%d' % (name, n) for metric in (name, name + '_w1')}
        calls = [Call('weft', ['grow', what, str(n)], names)]
        calls += [Call(peer, ['peer_%s_micro' % peer, name, '1', str(n)], names) for peer in peers]
        found.append(Work('%s_%d' % (name, n), calls, 60, 3))
    return found


def growth(quick):
    """A strand takes a page: a million of them are not for every machine."""
    counts = [10 ** i for i in range(0, 7, 2 if quick else 1)]
    return (grow('tasks', counts, ('tokio', 'go')) + grow('strands', [n for n in counts if n <= 100000]) +
            grow('timers', counts, ('tokio', 'go', 'uv')) + grow('connections', [64, 10000] if quick else [64, 640, 2500, 10000]))


def all_works(quick):
    one, each = [['1']], [['1'], ['2']]
    return [
        micro('switch', 'switch', [[]]),
        micro('yield', 'yield', each),
        micro('spawn_join', 'spawn_join', each),
        micro('million', 'million', each),
        micro('skynet', 'skynet', each),
        pingpong(each),
        micro('forced', 'forced', [['2']]),
        micro('mpsc', 'mpsc', each),
        micro('timers', 'timers', one, rounds=5),
        cold(),
        micro('idle', 'idle', [[]], rounds=3, floor=False),
        alone('memory', ['memory']),
        alone('fairness', ['fairness'], 5),
        alone('udp_batched', ['udp', '3' if quick else '5']),
    ] + growth(quick)
