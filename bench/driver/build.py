"""Builds what is measured, in the preset release. Peers that cannot be built leave their cells empty; weft's programs have to be there."""

import os
import sys

from . import child

LIMIT = 1800  # s


def step(argv, root, needed):
    """Whether it went well; what it said is shown when not."""
    try:
        child.run(argv, LIMIT, cwd=root)
    except (child.Failed, child.Unknown) as why:
        tail = '\n'.join(getattr(why, 'out', '').splitlines()[-30:])
        print('%s\n%s %s' % (tail, ' '.join(argv), why), file=sys.stderr)
        if needed:
            sys.exit(1)
        return False
    return True


def build(root, results):
    """Returns the folder of the programs."""
    if not step(['bash', os.path.join(root, 'scripts', 'setup'), '--bench'], root, False):
        results.problem('scripts/setup --bench failed: something may be missing')
    step(['cmake', '--preset', 'release'], root, True)
    step(['cmake', '--build', '--preset', 'release', '--target', 'benchmarks'], root, True)
    if not step(['cmake', '--build', '--preset', 'release', '--target', 'peers', '--', '-k', '0'], root, False):
        results.problem('a peer could not be built')
    return os.path.join(root, 'build', 'release', 'bench')
