"""What programs print: METRIC VALUE UNIT, then whatever they like. Other lines are nobody's."""

import re

LINE = re.compile(r'^([a-z][a-z0-9_]*)\s+(-?\d+(?:\.\d+)?)(?:\s+([^(\n]*[^(\s]))?\s*(?:\(|$)')


def measurements(text):
    """The (metric, value) pairs of a program's output. One that comes several times is several measurements."""
    found = (LINE.match(line) for line in text.splitlines())
    return [(m.group(1), float(m.group(2))) for m in found if m]
