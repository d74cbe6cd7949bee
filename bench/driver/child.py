"""One child process: started in a group of its own, with a time limit; ended, with what it started, when that is over or we are."""

import os
import signal
import subprocess

GRACE = 5  # s, between asking a group to end and ending it


class Failed(Exception):
    """Says why in a few words."""


class Unknown(Exception):
    """The program does not know this work: it has no cell, which is no failure."""


def end(process):
    """End @process and what is in its group. It leads that group, so nobody else's number can be meant while it is not reaped."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            pass
        try:
            process.communicate(timeout=GRACE)
            return
        except subprocess.TimeoutExpired:
            continue


def last_words(text):
    words = [line.strip() for line in text.splitlines() if line.strip()]
    return ': ' + words[-1][:160] if words else ''


def run(argv, limit, environment=None, cwd=None):
    """Its standard output."""
    try:
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
                                   start_new_session=True, cwd=cwd, env=dict(os.environ, **(environment or {})))
    except OSError as error:
        raise Failed(error.strerror)
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        end(process)
        raise Failed('took longer than %d s' % limit)
    except BaseException:
        end(process)
        raise
    if process.returncode == 2:
        raise Unknown()
    if process.returncode != 0:
        raise Failed('ended with %d%s' % (process.returncode, last_words(err)))
    return out
