"""Where and with what it was measured, and how much else was going on meanwhile."""

import datetime
import glob
import os
import platform
import re
import subprocess


def first_line(*argv):
    """Of what it prints; '' when it is not there."""
    try:
        text = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ''
    return text.strip().splitlines()[0] if text.strip() else ''


def field(path, pattern):
    try:
        with open(path, encoding='utf-8', errors='replace') as file:
            found = re.search(pattern, file.read(), re.M)
    except OSError:
        return ''
    return found.group(1) if found else ''


def crate(name):
    found = [re.search(r'-(\d[^/]*)$', path) for path in glob.glob('/usr/share/cargo/registry/%s-[0-9]*' % name)]
    return found[0].group(1) if found and found[0] else ''


def versions():
    boost = field('/usr/include/boost/version.hpp', r'#define BOOST_LIB_VERSION "([^"]+)"')
    asio = field('/usr/include/asio/version.hpp', r'// ASIO_VERSION / 100 .*\n.*\n.*\n#define ASIO_VERSION (\d+)')
    asio = asio or field('/usr/include/asio/version.hpp', r'#define ASIO_VERSION (\d+)')
    found = {
        'cc': first_line('cc', '--version'), 'go': first_line('/usr/bin/go', 'version'), 'rustc': first_line('/usr/bin/rustc', '--version'),
        'tokio': crate('tokio'), 'libuv': first_line('pkg-config', '--modversion', 'libuv'),
        'asio': '%d.%d.%d' % (int(asio) // 100000, int(asio) // 100 % 1000, int(asio) % 100) if asio else '',
        'boost': boost.replace('_', '.'), 'wrk': first_line('wrk', '-v').partition(' [')[0], 'libc': ' '.join(platform.libc_ver()),
    }
    return {name: version for name, version in found.items() if version}


def describe(root):
    commit = first_line('git', '-C', root, 'rev-parse', '--short=12', 'HEAD')
    dirty = first_line('git', '-C', root, 'status', '--porcelain', '--untracked-files=no')
    memory = field('/proc/meminfo', r'^MemTotal:\s+(\d+)')
    return {
        'date': datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%d %H:%M UTC'),
        'commit': commit + (' with changes' if dirty else ''),
        'cpu': field('/proc/cpuinfo', r'^model name\s*:\s*(.+)$') or platform.machine(),
        'cpus': len(os.sched_getaffinity(0)),
        'memory_gib': round(int(memory) / 2 ** 20, 1) if memory else None,
        'system': field('/etc/os-release', r'^PRETTY_NAME="?([^"\n]+)'),
        'kernel': '.'.join(platform.release().split('.')[:2]),
        'versions': versions(),
    }


def busy():
    """(what all processes have used, what others on the same hardware took from us, what there was), in ticks."""
    with open('/proc/stat', encoding='ascii') as file:
        ticks = [int(n) for n in file.readline().split()[1:9]]
    user, nice, system, idle, waiting, irq, soft, stolen = ticks
    return user + nice + system + irq + soft, stolen, sum(ticks)


def disturbance(before, after, own_seconds):
    """What others had of the machine's CPU time, on it and beneath it, in per cent."""
    used, stolen, there = (b - a for a, b in zip(before, after))
    own = own_seconds * os.sysconf('SC_CLK_TCK')
    return {'others': round(100 * max(0, used - own) / there, 1), 'stolen': round(100 * stolen / there, 1)} if there else {}


def text(about):
    """Two lines for people."""
    said = '%s, commit %s, %s run. %s, %d CPUs%s, %s, Linux %s.' % (
        about['date'], about['commit'], 'a quick' if about.get('quick') else 'a full', about['cpu'], about['cpus'],
        ', %s GiB' % about['memory_gib'] if about['memory_gib'] else '', about['system'], about['kernel'])
    if about.get('disturbance'):
        said += ' Others used %(others)s %% of the CPU time, %(stolen)s %% was stolen.' % about['disturbance']
    return said + '\n\n' + ' · '.join('%s %s' % pair if pair[0] not in pair[1].split()[:1] else pair[1] for pair in about['versions'].items())
