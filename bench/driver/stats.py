"""What is said about the values of one measurement. Knows nothing of where they come from."""

import statistics


def middle(values, unit=''):
    """The median; of ratios ("x") the geometric mean, in which a ratio and its inverse weigh the same."""
    if unit == 'x' and min(values) > 0:
        return statistics.geometric_mean(values)
    return statistics.median(values)


def spread(values):
    """Half of the distance between the quartiles, as a part of the median: how far a round is off, typically."""
    if len(values) < 2 or not statistics.median(values):
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method='inclusive')
    return (high - low) / 2 / abs(statistics.median(values))


def cost(value, reference, better):
    """How much more @value costs than @reference: above 1 it is worse, also where more is better. None: there is no telling."""
    if better == 'more':
        value, reference = reference, value
    return value / reference if value > 0 and reference > 0 else None


def best(values, better):
    """Of (value, name) pairs, the one that is hardest to beat."""
    return (max if better == 'more' else min)(values)
