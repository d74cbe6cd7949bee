"""The plots: how far ahead of the best peer, how costs grow, how latencies are spread. Each is a file, and only there if it has data."""

import os
import re

from . import stats, table, targets
from .svg import FAINT, INK, Canvas, Decades, short

COLORS = {'weft': '#0072b2', 'limit': '#888888', 'tokio': '#d55e00', 'go': '#009e73', 'uv': '#cc79a7', 'asio': '#e69f00', 'boost': '#56b4e9'}
OTHER = '#a0522d'
AHEAD, BEHIND = '#0072b2', '#c44e52'


def color(column):
    return COLORS.get(column, OTHER)


def by_weft(columns):
    """weft is drawn last, over the others."""
    return sorted(columns, key=lambda name: (name == 'weft', name))


# ---- bars --------------------------------------------------------------------------------------------------------------


def bars(lines, results, path):
    """For each line of the table, what the best peer costs for one of weft's."""
    rows = [(line, 1 / ratio) for line in lines for ratio in [targets.to_best(line, results)] if ratio]
    if not rows:
        return False
    left, right, step, top = 330, 720, 22, 50
    canvas = Canvas(860, top + step * len(rows) + 40)
    scale = Decades([value for _, value in rows] + [0.9, 1.1], left, right)
    canvas.text(16, 24, 'What the best peer costs, for each 1 that weft costs', 15, bold=True)
    for tick in scale.ticks():
        canvas.line(scale.at(tick), top - 8, scale.at(tick), canvas.height - 30, INK if tick == 1 else FAINT)
        canvas.text(scale.at(tick), canvas.height - 14, '%g ×' % tick, 11, 'middle')
    for i, (line, value) in enumerate(rows):
        y, end = top + step * i, scale.at(value)
        canvas.text(left - 10, y + 11, line.what, 11, 'end')
        canvas.bar(min(end, scale.at(1)), y, abs(end - scale.at(1)), step - 8, AHEAD if value >= 1 else BEHIND)
        canvas.text(max(end, scale.at(1)) + 6, y + 11, '%.2f × (%s)' % (value, targets.best_peer(line, results)[1]), 11)
    canvas.save(path)
    return True


# ---- curves ------------------------------------------------------------------------------------------------------------


def panel(canvas, box, title, curves, x_label, y_label):
    """@curves: {column: [(x, y)]}, both above 0, on axes that go by decades."""
    left, top, right, bottom = box
    points = [point for curve in curves.values() for point in curve]
    across, up = Decades([x for x, _ in points], left, right), Decades([y for _, y in points], bottom, top)
    canvas.text(left, top - 14, title, 13, bold=True)
    for tick in across.ticks():
        canvas.line(across.at(tick), top, across.at(tick), bottom, FAINT)
        canvas.text(across.at(tick), bottom + 16, short(tick), 10, 'middle')
    for tick in up.ticks():
        canvas.line(left, up.at(tick), right, up.at(tick), FAINT)
        canvas.text(left - 6, up.at(tick) + 4, short(tick), 10, 'end')
    canvas.text((left + right) / 2, bottom + 34, x_label, 11, 'middle')
    canvas.text(left - 6, top - 14, y_label, 10, 'end')
    for column in by_weft(curves):
        canvas.curve([(across.at(x), up.at(y)) for x, y in curves[column]], color(column), 3 if column == 'weft' else 1.5)


def legend(canvas, columns, x, y):
    for column in sorted(columns, key=lambda name: (name != 'weft', name)):
        canvas.bar(x, y - 9, 14, 10, color(column))
        canvas.text(x + 19, y, column, 11)
        x += 40 + 7 * len(column)


ABREAST, WIDTH, HEIGHT, HEAD = 3, 340, 330, 60  # panels in a row; the size of one; what stands above them


def panels(found, heading, x_label, path):
    """@found: [(title, unit, curves)]."""
    found = [item for item in found if item[2]]
    if not found:
        return False
    rows = (len(found) + ABREAST - 1) // ABREAST
    canvas = Canvas(40 + WIDTH * min(len(found), ABREAST), HEAD + HEIGHT * rows)
    canvas.text(16, 24, heading, 15, bold=True)
    legend(canvas, {column for _, _, curves in found for column in curves}, 16, 46)
    for i, (title, unit, curves) in enumerate(found):
        left, top = 70 + WIDTH * (i % ABREAST), HEAD + 30 + HEIGHT * (i // ABREAST)
        panel(canvas, (left, top, left + WIDTH - 80, top + HEIGHT - 90), title, curves, x_label, unit)
    canvas.save(path)
    return True


def growth(results, path):
    curves = {what: {column: sorted((n, stats.middle(values)) for n, values in by_count.items() if stats.middle(values) > 0)
                     for column, by_count in columns.items()} for what, columns in table.growth(results).items()}
    found = [(what, 'ns', {column: curve for column, curve in curves[what].items() if curve}) for what in sorted(curves)]
    return panels(found, 'The cost of one, with so many of them', 'how many there are', path)


QUANTILES = (('p50', 2), ('p99', 100), ('p999', 1000))  # one request in so many is slower


def latency(results, path):
    found = {}
    for metric, columns in results.values.items():
        parts = re.match(r'^(echo|http|http_load)_(p50|p99|p999)_(c\d+(?:_w\d+)?)$', metric)
        for column, values in columns.items() if parts else ():
            point = (dict(QUANTILES)[parts.group(2)], stats.middle(values))
            found.setdefault((parts.group(1), parts.group(3)), {}).setdefault(column, []).append(point)
    order = sorted(found, key=lambda key: (key[0], [int(n) for n in re.findall(r'\d+', key[1])]))
    names = {key: key[0] + ', ' + re.sub(r'c(\d+)', r'\1 connections', key[1]).replace('_w2', ', 2 threads') for key in order}
    curves = [(names[key], 'µs', {column: sorted(p for p in points if p[1] > 0) for column, points in found[key].items()}) for key in order]
    return panels(curves, 'Latency: one request in so many takes longer', 'one in', path)


def draw(lines, results, folder):
    """The names of the files that were made."""
    made = {'ratios.svg': lambda path: bars(lines, results, path), 'growth.svg': lambda path: growth(results, path),
            'latency.svg': lambda path: latency(results, path)}
    return [name for name, make in made.items() if make(os.path.join(folder, name))]
