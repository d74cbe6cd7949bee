"""As much SVG as the plots need: text, lines, bars, points; and an axis that goes by decades."""

import math
from xml.sax.saxutils import escape

INK, FAINT = '#222222', '#dddddd'


class Canvas:
    def __init__(self, width, height):
        self.width, self.height, self.parts = width, height, []

    def text(self, x, y, words, size=12, anchor='start', color=INK, bold=False):
        self.parts.append('<text x="%.1f" y="%.1f" font-size="%d" text-anchor="%s" fill="%s"%s>%s</text>' % (
            x, y, size, anchor, color, ' font-weight="bold"' if bold else '', escape(words)))

    def line(self, x1, y1, x2, y2, color=INK, width=1.0):
        self.parts.append('<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="%.1f"/>' % (
            x1, y1, x2, y2, color, width))

    def bar(self, x, y, width, height, color):
        self.parts.append('<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>' % (x, y, max(width, 0.5), height, color))

    def curve(self, points, color, width=2.0):
        path = ' '.join('%.1f,%.1f' % point for point in points)
        self.parts.append('<polyline points="%s" fill="none" stroke="%s" stroke-width="%.1f"/>' % (path, color, width))
        self.parts += ['<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>' % (x, y, color) for x, y in points]

    def save(self, path):
        head = ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" '
                'font-family="Helvetica, Arial, sans-serif">' % (self.width, self.height, self.width, self.height))
        paper = '<rect width="%d" height="%d" fill="#ffffff"/>' % (self.width, self.height)
        with open(path, 'w', encoding='utf-8') as file:
            file.write('\n'.join([head, paper] + self.parts + ['</svg>']) + '\n')


class Decades:
    """Maps values to places between @start and @end, a decade as long as another; whole decades around all @values."""

    def __init__(self, values, start, end):
        self.low = math.floor(math.log10(min(values)))
        self.high = max(math.ceil(math.log10(max(values))), self.low + 1)
        self.start, self.end = start, end

    def at(self, value):
        return self.start + (math.log10(value) - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self):
        return [10.0 ** exponent for exponent in range(self.low, self.high + 1)]


def short(value):
    """1,000 as 1k."""
    for size, letter in ((1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
        if value >= size:
            return '%g%s' % (value / size, letter)
    return '%g' % value
