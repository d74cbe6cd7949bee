"""What is measured, and by which program. A work has a name, programs by column, and how long one of them may take."""

from collections import namedtuple

# One call of a program: its column, its arguments, and what its metrics are called in the table where that is not what it prints.
Call = namedtuple('Call', 'column argv names')
# @rounds: at most so many, of a long one.
Work = namedtuple('Work', 'name calls limit rounds')

PEERS = ('tokio', 'go', 'uv', 'asio', 'boost')
MOST_ROUNDS = 7


def micro(name, weft, workers, limit=60, rounds=MOST_ROUNDS, peers=PEERS, floor=True):
    """A work that the limits and the peers know under its name. @weft: weft's program; @workers: with how many each runs."""
    calls = [Call('limit', ['limits', name], {})] if floor else []
    for count in workers:
        calls.append(Call('weft', [weft] + count, {}))
        calls += [Call(peer, ['peer_%s_micro' % peer, name] + count, {}) for peer in peers]
    return Work(name, calls, limit, rounds)


def cold():
    launches = '10'
    calls = []
    for count in ('1', '2'):
        names = {'launch': 'cold_w' + count}
        calls.append(Call('limit', ['launch', launches, 'limits', 'cold'], names))
        calls.append(Call('weft', ['launch', launches, 'cold', count], names))
        calls += [Call(peer, ['launch', launches, 'peer_%s_micro' % peer, 'cold', count], names) for peer in PEERS]
    return Work('cold', calls, 60, MOST_ROUNDS)


def grow(what, counts):
    """The cost of one more among so many: a work for each count, named for it."""
    name = 'grow_' + what
    return [Work('%s_%d' % (name, n), [Call('weft', ['grow', what, str(n)], {name: '%s_%d' % (name, n)})] +
                 [Call(peer, ['peer_%s_micro' % peer, name, '1', str(n)], {name: '%s_%d' % (name, n), name + '_w1': '%s_%d' % (name, n)})
                  for peer in ('tokio', 'go')], 60, 3) for n in counts]


def all_works(quick):
    one, each = [['1']], [['1'], ['2']]
    counts = [10 ** i for i in range(0, 7, 2 if quick else 1)]
    return [
        micro('switch', 'switch', [[]]),
        micro('yield', 'yield', each),
        micro('spawn_join', 'spawn_join', each),
        micro('million', 'million', each),
        micro('skynet', 'skynet', each),
        micro('pingpong', 'pingpong', each),
        micro('pingpong_notify', 'pingpong_notify', each, peers=('tokio',), floor=False),
        micro('forced', 'forced', [['2']]),
        micro('mpsc', 'mpsc', each),
        micro('timers', 'timers', one, rounds=5),
        cold(),
        micro('idle', 'idle', [[]], rounds=3, floor=False),
    ] + grow('tasks', counts) + grow('timers', counts)
