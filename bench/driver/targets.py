"""bench/targets.txt: the lines of the table, and whether weft has reached what they ask for."""

import os
import re
from collections import namedtuple

from . import stats

PATH = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'targets.txt')

Line = namedtuple('Line', 'metric what unit better target')
TARGET = re.compile(r'^(<=|>=) ([0-9.]+)( limit)?$')


def parse(text):
    lines = []
    for number, row in enumerate(text.splitlines(), 1):
        if not row.strip() or row.startswith('#'):
            continue
        line = Line(*(field.strip() for field in row.split('|')))
        if line.better not in ('less', 'more') or not (line.target == '-' or TARGET.match(line.target)):
            raise ValueError('targets.txt:%d: %s' % (number, row))
        lines.append(line)
    return lines


def load():
    with open(PATH, encoding='utf-8') as file:
        return parse(file.read())


def met(line, results):
    """Whether weft's median keeps to the bound; None: there is no bound, or nothing to hold against it."""
    weft, limit = results.of(line.metric, 'weft'), results.of(line.metric, 'limit')
    if line.target == '-' or not weft:
        return None
    relation, bound, factor = TARGET.match(line.target).groups()
    bound = float(bound)
    if factor:
        if not limit:
            return None
        bound *= stats.median(limit)
    return stats.median(weft) <= bound if relation == '<=' else stats.median(weft) >= bound
