"""Checks the driver itself, on canned output: what is read, reckoned, judged and drawn. Takes no time and starts nothing but a shell."""

import os
import tempfile
import xml.dom.minidom

from . import child, docs, lines, network, plots, results as outcome, rounds, stats, table, targets, works


def reads_what_programs_print():
    text = ('switch                               8.42 ns/pair  (min 8.40, 3 rounds)\nmpsc_w1 29.49 M msg/s\n'
            'million_peak_w1 101.21 MiB\nlistening on 127.0.0.1:7\nidle_task          144 bytes\nwarning: 3 things\nlost -1 x\n')
    assert lines.measurements(text) == [('switch', 8.42), ('mpsc_w1', 29.49), ('million_peak_w1', 101.21), ('idle_task', 144.0), ('lost', -1.0)]


def reckons():
    assert stats.middle([3, 1, 2]) == 2 and abs(stats.middle([0.5, 2.0], 'x') - 1) < 1e-9
    assert stats.spread([5]) == 0 and abs(stats.spread([90, 100, 110]) - 0.05) < 1e-9
    assert stats.cost(50, 100, 'less') == 0.5 and stats.cost(50, 100, 'more') == 2 and stats.cost(1, 0, 'less') is None
    assert stats.best([(3, 'a'), (2, 'b')], 'less') == (2, 'b') and stats.best([(3, 'a'), (2, 'b')], 'more') == (3, 'a')


def sample():
    results = outcome.Results({'date': 'today'})
    for column, values in {'weft': [60, 70, 65], 'tokio': [300, 310, 305], 'boost': [640, 660, 650]}.items():
        for value in values:
            results.add('spawn_join_w1', column, value)
    results.add('spawn_join', 'limit', 13)
    for column, value in {'weft': 10, 'limit': 9, 'go': 5}.items():
        results.add('udp_rate_c64', column, value)
    for n in (1, 1000, 1000000):
        results.add('grow_tasks_%d' % n, 'weft', 50 + n / 1e6)
    for field, value in (('p50', 10), ('p99', 20), ('p999', 80)):
        results.add('echo_%s_c64' % field, 'weft', value)
    return results


TARGETS = ('# a comment\nspawn_join_w1 | spawn | ns/task | less | <= 70\nudp_rate_c64 | packets | /s | more | >= 1.2 limit\n'
           'echo_p99_c64 | p99 | us | less | <= 1.2 limit\ncold_w1 | cold | us | less | -\n')


def judges():
    results, asked = sample(), targets.parse(TARGETS)
    assert [targets.met(line, results) for line in asked] == [True, False, None, None]
    assert targets.best_peer(asked[0], results) == (305, 'tokio') and targets.best_peer(asked[2], results) is None
    assert abs(targets.to_limit(asked[0], results) - 5) < 1e-9 and abs(targets.to_limit(asked[1], results) - 0.9) < 1e-9
    for wrong in ('a | b | c | less', 'a | b | c | fewer | -', 'a | b | c | less | about 3'):
        try:
            targets.parse(wrong)
        except ValueError:
            continue
        raise AssertionError(wrong)


def renders():
    results = sample()
    results.problem('asio was not built')
    text = table.render(targets.parse(TARGETS), results)
    rows = [[cell.strip() for cell in row.strip('|').split('|')] for row in text.splitlines() if row.startswith('|')]
    assert rows[2] == ['spawn', 'ns/task', '13.0', '65.0 ±4%', '305 ±1%', '', '', '', 'boost 650 ±1%', '5.00', '0.21 (tokio)', '<= 70', 'yes']
    assert rows[3][-4:] == ['0.90', '0.50 (go)', '>= 1.2 limit', '**no**']
    assert '1 of 2 targets met.' in text and '- asio was not built' in text and len({len(row) for row in rows[:5]}) == 1
    assert ['tasks', 'weft', '50.0', '50.0', '51.0'] in rows


def reads_what_ratio_says():
    results = outcome.Results()
    load = network.Load('echo_64', 'echo', 64, 1, 2, 1)
    network.take(load, 'round echo_cpu_ns_c64 1 limit 1000 ns/request\nround echo_cpu_ns_c64 1 weft 1100 ns/request\n'
                 'round echo_cpu_ns_c64 2 weft 900 ns/request\nstarved limit 2\nmissing go no program\necho_cpu_c64 weft 1.1 x 1 1 1\n', results)
    assert network.ratio_of('bulk_rate_c1_w2') == 'bulk_rate_ratio_c1_w2' and network.ratio_of('echo_cpu_ns_c64') == 'echo_cpu_c64'
    assert results.of('echo_cpu_ns_c64', 'weft') == [1100, 900] and results.of('echo_cpu_c64', 'weft') == [1.1]
    assert results.problems == {'echo_64, go: no program': 1}


def draws(folder):
    results = sample()
    made = plots.draw(targets.parse(TARGETS), results, folder)
    assert sorted(made) == ['growth.svg', 'latency.svg', 'ratios.svg']
    for name in made:
        xml.dom.minidom.parse(os.path.join(folder, name))
    results.save(os.path.join(folder, 'results.json'))
    assert outcome.load(os.path.join(folder, 'results.json')).values == results.values


def survives_children(folder):
    program = os.path.join(folder, 'program')
    with open(program, 'w', encoding='ascii') as file:
        file.write('#!/bin/sh\ncase $1 in good) echo "good $BENCH_ROUNDS ns";; bad) echo why >&2; exit 1;; slow) sleep 60;; *) exit 2;; esac\n')
    os.chmod(program, 0o700)
    results = outcome.Results()
    calls = [works.Call('weft', ['program', word], {'good': 'renamed'}) for word in ('good', 'bad', 'strange')]
    rounds.run(works.Work('w', calls + [works.Call('go', ['nothing'], {})], 60, 7), 7, 0, folder, results)
    rounds.run(works.Work('w', [works.Call('go', ['program', 'slow'], {})], 0.05, 7), 1, 60, folder, results)
    assert results.values == {'renamed': {'weft': [1.0, 1.0]}}
    assert sorted(results.problems) == ['nothing was not built', 'program bad ended with 1: why', 'program slow took longer than 0.05 s']
    try:
        child.run([os.path.join(folder, 'nobody')], 1)
    except child.Failed:
        return
    raise AssertionError('what is not there has run')


def keeps_the_page():
    page = 'a\n%s\nold\n%s\nb\n' % (docs.BEGIN, docs.END)
    once = docs.replaced(page, docs.block('about', 'table', ['x.svg']))
    assert once.startswith('a\n') and once.endswith('\nb\n') and 'old' not in once and '(performance/x.svg)' in once
    assert docs.replaced(once, docs.block('about', 'table', ['x.svg'])) == once


def names_are_what_is_measured():
    """Every work has a name of its own; the table asks for nothing twice."""
    names = [work.name for work in works.all_works(False)] + [load.name for load in network.all_loads(False)]
    metrics = [line.metric for line in targets.load()]
    assert len(set(names)) == len(names) and len(set(metrics)) == len(metrics)


def run():
    """0 when all is well; otherwise what is not comes as a traceback."""
    reads_what_programs_print()
    reckons()
    judges()
    renders()
    reads_what_ratio_says()
    keeps_the_page()
    names_are_what_is_measured()
    with tempfile.TemporaryDirectory() as folder:
        draws(folder)
        survives_children(folder)
    print('ok')
    return 0
