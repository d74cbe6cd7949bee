"""scripts/bench: build, measure, print and save. What is measured is in works.py and network.py, what is asked for in ../targets.txt."""

import argparse
import os
import re
import resource
import signal
import sys
import time

from . import build, check, docs, machine, network, plots, results as outcome, rounds, table, targets, works

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

NAME = 'results.json'


def arguments():
    parser = argparse.ArgumentParser(prog='scripts/bench', description='weft beside its peers and beside bare C: one table.')
    parser.add_argument('--quick', action='store_true', help='fewer and shorter rounds')
    parser.add_argument('--only', metavar='REGEX', default='', help='only works whose name matches')
    parser.add_argument('--out', metavar='DIR', help='where results.json, table.md and the plots go (build/bench)')
    parser.add_argument('--list', action='store_true', help='name the works, and end')
    parser.add_argument('--no-plots', action='store_true', help='the table only')
    parser.add_argument('--from', metavar='DIR', dest='source', help='measure nothing: take results.json from there')
    parser.add_argument('--write-docs', action='store_true', help='put table and plots into docs/performance.md')
    parser.add_argument('--check', action='store_true', help='check the driver itself, and end')
    options = parser.parse_args()
    if options.source and not os.path.isfile(os.path.join(options.source, NAME)):
        parser.error('no %s in %s' % (NAME, options.source))
    return options


def chosen(options):
    """(name, what to do with the results' folder of programs) for each work."""
    many, budget = (3, 20) if options.quick else (works.MOST_ROUNDS, 90)
    script = os.path.join(ROOT, 'bench', 'ratio.sh')
    found = [(work.name, lambda bin_dir, results, work=work: rounds.run(work, many, budget, bin_dir, results))
             for work in works.all_works(options.quick)]
    found += [(load.name, lambda bin_dir, results, load=load: network.run(load, script, bin_dir, results))
              for load in network.all_loads(options.quick)]
    return [(name, run) for name, run in found if re.search(options.only, name)]


def measure(todo, results, folder):
    """False when it was interrupted. What there is is saved after each work."""
    name = 'the build'
    try:
        bin_dir, before = build.build(ROOT, results), machine.busy()
        for i, (name, run) in enumerate(todo, 1):
            begin = time.monotonic()
            print('[%d/%d] %s' % (i, len(todo), name), end=' ', file=sys.stderr, flush=True)
            run(bin_dir, results)
            print('%.1f s' % (time.monotonic() - begin), file=sys.stderr)
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            results.about['disturbance'] = machine.disturbance(before, machine.busy(), used.ru_utime + used.ru_stime)
            results.save(os.path.join(folder, NAME))
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        results.problem('interrupted in %s: what came after it is missing' % name)
        return False
    return True


def show(options, results, folder):
    lines = targets.load()
    text, about = table.render(lines, results), machine.text(results.about)
    with open(os.path.join(folder, 'table.md'), 'w', encoding='utf-8') as file:
        file.write(about + '\n\n' + text)
    made = [] if options.no_plots else plots.draw(lines, results, folder)
    if options.write_docs:
        docs.write(ROOT, about, text, folder, made)
    print(about + '\n\n' + text)
    print('In %s: %s' % (folder, ' '.join([NAME, 'table.md'] + made)))


def interrupt(*_):
    raise KeyboardInterrupt


def main():
    options = arguments()
    todo = chosen(options)
    if options.check:
        return check.run()
    if options.list:
        print('\n'.join(name for name, _ in todo))
        return 0
    folder = os.path.abspath(options.out or options.source or os.path.join(ROOT, 'build', 'bench'))
    os.makedirs(folder, exist_ok=True)
    if options.source:
        results = outcome.load(os.path.join(options.source, NAME))
        results.save(os.path.join(folder, NAME))
        show(options, results, folder)
        return 0
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, interrupt)
    results = outcome.Results(dict(machine.describe(ROOT), quick=options.quick))
    whole = measure(todo, results, folder)
    show(options, results, folder)
    return 0 if whole else 130


if __name__ == '__main__':
    sys.exit(main())
