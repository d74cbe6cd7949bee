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
        fields = [field.strip() for field in row.split('|')]
        if len(fields) != 5 or fields[3] not in ('less', 'more') or not (fields[4] == '-' or TARGET.match(fields[4])):
            raise ValueError('targets.txt:%d: %s' % (number, row))
        lines.append(Line(*fields))
    return lines


def load():
    with open(PATH, encoding='utf-8') as file:
        return parse(file.read())


def middle(line, results, column):
    """None: it was not measured."""
    values = results.of(line.metric, column)
    return stats.middle(values, line.unit) if values else None


def met(line, results):
    """Whether weft keeps to the bound; None: there is no bound, or nothing to hold against it."""
    weft, limit = middle(line, results, 'weft'), middle(line, results, 'limit')
    if line.target == '-' or weft is None:
        return None
    relation, bound, of_limit = TARGET.match(line.target).groups()
    if of_limit and limit is None:
        return None
    bound = float(bound) * (limit if of_limit else 1)
    if line.unit == 'x':
        weft = round(weft, 2)  # as the table shows it
    return weft <= bound if relation == '<=' else weft >= bound


def best_peer(line, results):
    """(its figure, its name), or None."""
    peers = [(middle(line, results, name), name) for name in results.columns(line.metric) if name not in ('limit', 'weft')]
    return stats.best(peers, line.better) if peers else None


def to_limit(line, results):
    weft, limit = middle(line, results, 'weft'), middle(line, results, 'limit')
    return None if weft is None or limit is None else stats.cost(weft, limit, line.better)


def to_best(line, results):
    weft, peer = middle(line, results, 'weft'), best_peer(line, results)
    return None if weft is None or peer is None else stats.cost(weft, peer[0], line.better)
