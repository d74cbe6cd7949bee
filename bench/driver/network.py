"""The works of the network, which ratio.sh does: its arguments, and what it says. Bare epoll is the limit there."""

import os
import re
from collections import namedtuple

from . import child

# @kind: of load; @servers: the KIND of the programs; @metric: what ratio.sh calls them all, "KIND_%s_cN".
Load = namedtuple('Load', 'name kind connections workers rounds seconds')

SERVERS = {
    'limit': 'peer_epoll_%s', 'weft': '%s_weft', 'tokio': 'peer_tokio_%s', 'go': 'peer_go_%s', 'uv': 'peer_uv_%s', 'asio': 'peer_asio_%s',
}
# HTTP without a library where there is one with and one without: the others do the same.
SPECIAL = {
    ('http', 'tokio'): 'peer_tokio_rawhttp', ('http', 'go'): 'peer_go_rawhttp', ('http', 'go_nethttp'): 'peer_go_http',
}
SERVER_OF = {'http_load': 'http', 'accept': 'echo', 'idle': 'echo'}  # load -> KIND, where the name is another
LIMIT = 1200  # s


def all_loads(quick):
    few, some, many = (3, 5, 6) if quick else (7, 15, 40)
    short, second = 0.3, 1
    return [
        Load('echo_64', 'echo', 64, 1, many, short),
        Load('echo_1000', 'echo', 1000, 1, many, short),
        Load('echo_10000', 'echo', 10000, 1, few, second),
        Load('echo_2_threads', 'echo', 64, 2, some, short),
        Load('http_wrk', 'http', 64, 1, few, second),
        Load('http_load', 'http_load', 64, 1, some, short),
        Load('bulk_1', 'bulk', 1, 1, few, short),
        Load('bulk_64', 'bulk', 64, 1, few, short),
        Load('udp', 'udp', 64, 1, few, short),
        Load('accept', 'accept', 64, 1, few, short),
        Load('idle_connections', 'idle', 10000, 1, 1 if quick else 3, second),
    ]


def servers(load, bin_dir, results):
    """NAME=PROGRAM of those that were built."""
    kind = SERVER_OF.get(load.kind, load.kind)
    programs = {column: SPECIAL.get((kind, column), pattern % kind) for column, pattern in SERVERS.items()}
    programs.update({column: program for (of, column), program in SPECIAL.items() if of == kind})
    there = {column: os.path.join(bin_dir, program) for column, program in programs.items()}
    for column in programs:
        if not os.path.isfile(there[column]):
            results.absent(programs[column])
    return ['%s=%s' % (column, path) for column, path in there.items() if os.path.isfile(path)]


def ratio_of(metric):
    """As ratio.sh calls them: KIND_cpu_cN for KIND_cpu_ns_cN, KIND_FIELD_ratio_cN for others."""
    what, end = re.match(r'^(.*?)((?:_c\d+)?(?:_w\d+)?)$', metric).groups()
    return (what[:-3] if what.endswith('_cpu_ns') else what + '_ratio') + end


def paired(values):
    """From {(metric, column, round): value}, the ratios to the limit's value in the same round."""
    for (metric, column, turn), value in values.items():
        bare = values.get((metric, 'limit', turn))
        if bare and value:
            yield ratio_of(metric), column, value / bare


def take(load, text, results):
    """ratio.sh's lines into results: each round's values, and the paired ratios."""
    values = {}
    for fields in (line.split() for line in text.splitlines()):
        if len(fields) >= 5 and fields[0] == 'round':
            values[fields[1], fields[3], int(fields[2])] = float(fields[4])
        elif len(fields) >= 2 and fields[0] == 'missing':
            results.problem('%s, %s: %s' % (load.name, fields[1], ' '.join(fields[2:])))
    for (metric, column, _), value in values.items():
        results.add(metric, column, value)
    for metric, column, value in paired(values):
        results.add(metric, column, value)


def run(load, script, bin_dir, results):
    argv = ['bash', script, load.kind, str(load.rounds), str(load.seconds), str(load.connections)] + servers(load, bin_dir, results)
    environment = {'BENCH_DIR': bin_dir, 'WORKERS': str(load.workers)}
    try:
        take(load, child.run(argv, LIMIT, environment), results)
    except child.Unknown:
        results.problem('%s: the load is not there' % load.name)
    except child.Failed as why:
        take(load, why.out, results)
        if 'missing ' not in why.out:
            results.problem('%s %s' % (load.name, why))
