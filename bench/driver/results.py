"""What a run has found out: all values, by metric and column, and what could not be measured."""

import json


class Results:
    def __init__(self, about=None):
        self.about = about or {}
        self.values = {}  # metric -> column -> values, one for each round
        self.problems = {}  # what went wrong -> how often

    def add(self, metric, column, value):
        self.values.setdefault(metric, {}).setdefault(column, []).append(value)

    def problem(self, text):
        self.problems[text] = self.problems.get(text, 0) + 1

    def absent(self, program):
        self.problems['%s was not built' % program] = 1

    def of(self, metric, column):
        """The values; those of a limit that does not depend on the number of workers hold for each."""
        columns = self.values.get(metric, {})
        if column == 'limit' and column not in columns and metric.endswith(('_w1', '_w2')):
            columns = self.values.get(metric[:-3], {})
        return columns.get(column, [])

    def columns(self, metric):
        return self.values.get(metric, {})

    def save(self, path):
        with open(path, 'w', encoding='utf-8') as file:
            json.dump({'about': self.about, 'values': self.values, 'problems': self.problems}, file, indent=1)
            file.write('\n')


def load(path):
    with open(path, encoding='utf-8') as file:
        data = json.load(file)
    results = Results(data['about'])
    results.values, results.problems = data['values'], data['problems']
    return results
