"""The table: a line for each metric of targets.txt that was measured, in Markdown that can be read as it is."""

from . import stats, targets

HEADS = ('limit', 'weft', 'tokio', 'go', 'uv', 'asio')  # columns of their own; what else there is goes under "others"


def number(value):
    if value >= 1000:
        return '{:,.0f}'.format(value)
    return '{:.0f}'.format(value) if value >= 100 else '{:.1f}'.format(value) if value >= 10 else '{:.2f}'.format(value)


def cell(values):
    if not values:
        return ''
    text = number(stats.median(values))
    return text if len(values) < 2 else '%s ±%.0f%%' % (text, 100 * stats.spread(values))


def others(line, results):
    names = [name for name in sorted(results.columns(line.metric)) if name not in HEADS]
    return ', '.join('%s %s' % (name, cell(results.of(line.metric, name))) for name in names)


def best_peer(line, results):
    """(its median, its name), or None."""
    peers = [(stats.median(values), name) for name, values in results.columns(line.metric).items()
             if name not in ('limit', 'weft') and values]
    return stats.best(peers, line.better) if peers else None


def ratio_to_limit(line, results):
    weft, limit = results.of(line.metric, 'weft'), results.of(line.metric, 'limit')
    return stats.cost(stats.median(weft), stats.median(limit), line.better) if weft and limit else None


def ratio_to_best(line, results):
    weft, best = results.of(line.metric, 'weft'), best_peer(line, results)
    return stats.cost(stats.median(weft), best[0], line.better) if weft and best else None


def ratio(value):
    return '' if value is None else '{:.2f}'.format(value)


def row(line, results):
    best = best_peer(line, results)
    beside = ratio(ratio_to_best(line, results))
    verdict = {True: 'yes', False: '**no**', None: ''}[targets.met(line, results)]
    return ([line.what, line.unit] + [cell(results.of(line.metric, name)) for name in HEADS] + [others(line, results)] +
            [ratio(ratio_to_limit(line, results)), '%s (%s)' % (beside, best[1]) if beside else '',
             '' if line.target == '-' else line.target, verdict])


def aligned(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    out = ['| ' + ' | '.join(text.ljust(width) if i < 2 else text.rjust(width)
                             for i, (text, width) in enumerate(zip(row, widths))) + ' |' for row in rows]
    rule = '|' + '|'.join('-' * (width + 2) if i < 2 else '-' * (width + 1) + ':' for i, width in enumerate(widths)) + '|'
    return [out[0], rule] + out[1:]


def problems(results):
    return ['- %s%s' % (text, '' if times == 1 else ' (%d times)' % times) for text, times in sorted(results.problems.items())]


def score(lines, results):
    verdicts = [targets.met(line, results) for line in lines]
    return '%d of %d targets met.' % (verdicts.count(True), verdicts.count(True) + verdicts.count(False))


def render(lines, results):
    """The whole of it, as one text."""
    lines = [line for line in lines if results.columns(line.metric)]
    heads = ['work', 'unit'] + list(HEADS) + ['others', 'weft / limit', 'weft / best peer', 'target', 'met']
    text = aligned([heads] + [row(line, results) for line in lines])
    text += ['', 'Medians; ± is half the distance between the quartiles of the rounds. Ratios are of cost: below 1 weft is cheaper, '
             'also where the unit is a rate. ' + score(lines, results)]
    if results.problems:
        text += ['', 'Not measured:', ''] + problems(results)
    return '\n'.join(text) + '\n'
