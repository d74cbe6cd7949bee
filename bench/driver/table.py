"""The table: a line for each metric of targets.txt that was measured, in Markdown that can be read as it is."""

import re

from . import stats, targets

HEADS = ('limit', 'weft', 'tokio', 'go', 'uv', 'asio')  # columns of their own; what else there is goes under "others"


def number(value):
    if value >= 1000:
        return '{:,.0f}'.format(value)
    return '{:.0f}'.format(value) if value >= 100 else '{:.1f}'.format(value) if value >= 10 else '{:.2f}'.format(value)


def cell(line, results, column):
    values = results.of(line.metric, column)
    if not values:
        return ''
    text = number(stats.middle(values, line.unit))
    return text if len(values) < 2 else '%s ±%.0f%%' % (text, 100 * stats.spread(values))


def others(line, results):
    return ', '.join('%s %s' % (name, cell(line, results, name)) for name in sorted(results.columns(line.metric)) if name not in HEADS)


def against_best(line, results):
    value = targets.to_best(line, results)
    return '' if value is None else '%.2f (%s)' % (value, targets.best_peer(line, results)[1])


def against_limit(line, results):
    value = targets.to_limit(line, results)
    return '' if value is None else '%.2f' % value


def row(line, results):
    verdict = {True: 'yes', False: '**no**', None: ''}[targets.met(line, results)]
    return ([line.what, line.unit] + [cell(line, results, name) for name in HEADS] + [others(line, results)] +
            [against_limit(line, results), against_best(line, results), line.target.strip('-'), verdict])


def aligned(rows, left):
    """Rows of a Markdown table, of which the first is the head and the first @left columns stand to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    sides = ['<' if i < left else '>' for i in range(len(widths))]
    out = ['| ' + ' | '.join('{:{}{}}'.format(*cell) for cell in zip(row, sides, widths)) + ' |' for row in rows]
    rule = ['-' * (width + 2) if side == '<' else '-' * (width + 1) + ':' for side, width in zip(sides, widths)]
    return [out[0], '|' + '|'.join(rule) + '|'] + out[1:]


def main_table(lines, results):
    heads = ['work', 'unit'] + list(HEADS) + ['others', 'weft / limit', 'weft / best peer', 'target', 'met']
    return aligned([heads] + [row(line, results) for line in lines if results.columns(line.metric)], 2)


def growth(results):
    """{(what, unit): {column: {n: values}}} of the metrics grow_WHAT_N."""
    found = {}
    for metric, columns in results.values.items():
        parts = re.match(r'^grow_([a-z]+)_(\d+)$', metric)
        for column, values in columns.items() if parts else ():
            found.setdefault(parts.group(1), {}).setdefault(column, {})[int(parts.group(2))] = values
    return found


def growth_table(results):
    found = growth(results)
    counts = sorted({n for columns in found.values() for by_count in columns.values() for n in by_count})
    rows = [['ns each, with so many', ''] + ['{:,}'.format(n) for n in counts]]
    for what in sorted(found):
        for column in sorted(found[what], key=lambda name: (name != 'weft', name)):
            by_count = found[what][column]
            rows.append([what, column] + [number(stats.middle(by_count[n])) if n in by_count else '' for n in counts])
    return aligned(rows, 2) if len(rows) > 1 else []


def score(lines, results):
    verdicts = [targets.met(line, results) for line in lines]
    return '%d of %d targets met.' % (verdicts.count(True), verdicts.count(True) + verdicts.count(False))


def problems(results):
    return ['- %s%s' % (text, '' if times == 1 else ' (%d times)' % times) for text, times in sorted(results.problems.items())]


def render(lines, results):
    """All of it, as one text."""
    text = main_table(lines, results)
    text += ['', 'Medians of the rounds, of paired ratios ("x") the geometric mean; ± is half the distance between the quartiles. The two ratios are of '
             'cost: below 1 weft is cheaper, also where the unit is a rate. ' + score(lines, results)]
    text += [''] + growth_table(results) if growth(results) else []
    text += ['', 'Not measured:', ''] + problems(results) if results.problems else []
    return '\n'.join(text) + '\n'
