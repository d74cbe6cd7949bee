"""One child process: started in a group of its own, with a time limit; ended, with what it started, when that is over or we are."""

import os
import signal
import subprocess

GRACE = 10  # s, between asking a group to end and ending it: a shell may have servers to stop


class Failed(Exception):
    """Says why in a few words. @out: what it had printed."""

    def __init__(self, why, out=''):
        super().__init__(why)
        self.out = out


class Unknown(Exception):
    """The program does not know this work: it has no cell, which is no failure."""


def signal_group(process, sign):
    """@process leads its group, and is not reaped yet: nobody else's number can be meant."""
    try:
        os.killpg(process.pid, sign)
    except ProcessLookupError:
        pass


def end(process):
    """Returns what it had printed."""
    signal_group(process, signal.SIGTERM)
    try:
        return process.communicate(timeout=GRACE)[0]
    except subprocess.TimeoutExpired:
        signal_group(process, signal.SIGKILL)
        return process.communicate()[0]


def last_words(text):
    words = [line.strip() for line in text.splitlines() if line.strip()]
    return ': ' + words[-1][:160] if words else ''


def start(argv, environment, cwd):
    try:
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
                                start_new_session=True, cwd=cwd, env=dict(os.environ, **(environment or {})))
    except OSError as error:
        raise Failed(error.strerror) from None


def run(argv, limit, environment=None, cwd=None):
    """Its standard output."""
    process = start(argv, environment, cwd)
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        raise Failed('took longer than %g s' % limit, end(process) or '') from None
    except BaseException:
        end(process)
        raise
    if process.returncode == 2:
        raise Unknown()
    if process.returncode != 0:
        raise Failed('ended with %d%s' % (process.returncode, last_words(err)), out)
    return out
