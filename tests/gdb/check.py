"""check.py - run by gdb on stage.c, which has aborted, or on its core: what the commands of debug/weft-gdb.py say of each task in it.

The environment: WEFT_CORE, a core file to write at the end; WEFT_BARE, if the program has no symbols at all; WEFT_JUMPS, if the library's own
frames are not to be relied on: optimized functions leave by jumps, and what is exported does not cover all of the code."""

import os
import re
import traceback

import gdb

# name: (state, what it waits for, the functions of its backtrace, innermost first, of which the last must be its outermost)
TASKS = {
    "director": (r"running", r"", ["abort", "all_is_set", "director"]),
    "mutex": (r"running", r"", ["pthread_mutex_lock", "stuck_in_mutex"]),
    "loop": (r"running", r"", ["stuck_in_loop"]),
    "sleeper": (r"idle", r"sleep in \d\d(\.\d)? min", ["weft_sleep", "sleeps_long"]),
    "joiner": (r"idle", r"join #{sleeper}", ["weft_join", "joins_the_sleeper"]),
    "pinned": (r"idle pinned", r"notify 0x[0-9a-f]+( \(never\))?", ["weft_notify_wait", "waits_pinned"]),
    "coroutine": (r"idle", r"notify 0x[0-9a-f]+( \(never\))?", ["weft_notify_wait", "waits_in_coroutine"]),
    "caller": (r"idle", r"blocking", ["weft_blocking", "awaits_a_call"]),
    "crowd-7": (r"idle", r"chan recv 0x[0-9a-f]+", ["weft_chan_recv", "receive", "one_of_the_crowd"]),
    "job": (r"running blocking", r"", None),
    "behind": (r"scheduled pinned", r"", None),
    "stackless": (r"idle stackless", r"\?", None),
}
CROWD = 300 # more than there may be unwound: the others are known by their likeness
BARE, JUMPS = "WEFT_BARE" in os.environ, "WEFT_JUMPS" in os.environ


def weft(command):
    return gdb.execute("weft " + command, to_string=True)


def expect(condition, what, output=""):
    if not condition:
        raise AssertionError("%s\n%s" % (what, output))


def functions(backtrace):
    """Of the frames printed: "#3  0x... in NAME (" or "#0  NAME ("."""
    return re.findall(r"^#\d+ +(?:0x[0-9a-f]+ in )?(\S+) \(", backtrace, re.M)


def expect_frames(text, expected):
    found, at = functions(text), 0
    for name in expected:
        if JUMPS and name.startswith("weft_"):
            continue
        while at < len(found) and name not in found[at]:
            at += 1
        expect(at < len(found), "%s is not there, or not in its place" % name, text)
    expect(found[-1] == expected[-1], "the outermost frame is not that of the strand's function", text)
    expect(not {"wf_switch", "wf_switch_code", "suspend", "entry", "wf_switch_entry"} & set(found), "frames of the switch", text)


def ids_by_name(text):
    return {name: number for number, name in re.findall(r"^ *(\d+)  (\S+) ", text, re.M)}


def check_list():
    text = weft("tasks --all")
    ids = ids_by_name(text)
    expect(re.search(r'^runtime "stage": 4 workers, %d tasks: 4 running, 1 scheduled, %d idle' % (CROWD + 12, CROWD + 7), text), "the first line", text)
    for name, (state, wait, _) in TASKS.items():
        row = r"^ *\d+  %s +%s +(\d+ +)?\d\S* \S+ +\d\S* \S+ *%s( |$)" % (name, state, wait.replace("{sleeper}", ids.get("sleeper", "")))
        expect(re.search(row, text, re.M), "the row of " + name, text)
    expect(len(re.findall(r"^ *\d+  crowd-\d+ ", text, re.M)) == CROWD, "each of the crowd", text)
    expect(re.search(r"^ *\d+ +idle stackless ", text, re.M), "the stored task, which has no name", text)
    return ids


def check_groups():
    text = weft("tasks")
    expect(re.search(r"^ *300x  crowd-\*  +idle .*#\d+, #\d+, #\d+, \.\.\.\]$", text, re.M), "the crowd as one", text)
    expect(not re.search(r"crowd-\d", text), "the crowd one by one", text)
    rows = [line.split()[1] for line in text.splitlines()[2:]]
    expect({"mutex", "loop", "director"} <= set(rows[:4]) and rows[-1] == "crowd-*", "the suspicious first", text)
    expect(set(ids_by_name(weft("tasks running"))) == {"mutex", "loop", "director", "job"}, "by state", weft("tasks running"))
    expect(set(ids_by_name(weft("tasks eepe"))) == {"sleeper"}, "by a part of the name", weft("tasks eepe"))
    expect(set(ids_by_name(weft("tasks join"))) == {"joiner"}, "by the wait", weft("tasks join"))
    text = weft("tasks chan recv")
    expect(re.search(r"^ *%dx  crowd-\* +idle .* chan recv 0x[0-9a-f]+ " % CROWD, text, re.M) and len(text.splitlines()) == 3, "by a wait of two words", text)


def check_places():
    text, inside = weft("tasks"), "%.0s" if JUMPS else r", in weft_%s"
    for row in (r" mutex .*  stuck_in_mutex \(stage\.c:\d+\), in \w*pthread_mutex_lock", r" loop .*  stuck_in_loop \(stage\.c:\d+\)",
                r" sleeper .*  sleeps_long \(stage\.c:\d+\)" + inside % "sleep", r" behind .*  begins at never_begins",
                r" stackless .*  polled by is_never_ready", r" job .*  blocks_in_job \(stage\.c:\d+\)",
                r" 300x .*  receive \(stage\.c:\d+\)" + inside % "chan_recv", r" coroutine .*  waits_in_coroutine \(stage\.c:\d+\)"):
        expect(re.search(row, text.replace("\n", "\n ")), "the place: " + row, text)


def check_backtraces(ids):
    for name, (_, _, frames) in TASKS.items():
        if frames:
            text = weft("task %s bt" % ids[name])
            expect(text.startswith('task #%s "%s": ' % (ids[name], name)), "the headline of " + name, text)
            first, _, rest = text.partition("in a coroutine, which was resumed by:\n")
            expect_frames(first, frames)
            expect(bool(rest) == (name == "coroutine"), "one stack, or two", text)
            if rest: # weft_coro_resume() has left by a jump, where it was optimized
                expect_frames(rest, ["resumes_coroutine"])
    expect("blocks_in_job" in functions(weft("task job bt")), "a blocking job's", weft("task job bt"))


def check_selecting():
    before = gdb.execute("bt", to_string=True)
    expect("all_is_set" in before and "sleeps_long" not in before, "the thread's own backtrace", before)
    expect("sleeps_long" in weft("task sleeper select"), "what was selected")
    expect("answer_of_sleeper = 4711" in gdb.execute("info locals", to_string=True), "its locals", gdb.execute("info locals", to_string=True))
    expect(int(gdb.parse_and_eval("answer_of_sleeper")) == 4711, "print")
    expect_frames(gdb.execute("bt", to_string=True), ["weft_sleep", "sleeps_long"])
    expect("receive" in weft("task crowd-3 select"), "another")
    gdb.execute("up")
    expect(gdb.selected_frame().name() == "one_of_the_crowd", "up")
    expect("resumes_coroutine" in weft("task coroutine frame 1"), "whoever resumed it")
    expect("stuck_in_loop" in weft("task loop select"), "one that runs")
    weft("back")
    weft("task director select")
    weft("back")
    expect(gdb.execute("bt", to_string=True) == before, "what was there before", gdb.execute("bt", to_string=True))


def check_task(ids):
    text = weft("task joiner")
    expect(re.search(r'joins +#%s "sleeper"' % ids["sleeper"], text), "whom it joins", text)
    text = weft("task caller")
    expect(re.search(r'#%s "caller": strand, idle .* its call on thread \d+ ' % ids["caller"], text), "its call", text)
    expect(re.search(r"pinned +to worker \d", weft("task pinned")), "where it is pinned", weft("task pinned"))


def check_workers():
    text = weft("workers")
    rows = text.splitlines()[2:]
    expect(len(rows) == 4 and all(re.match(r" +\d  +\d+ \(LWP \d+\) ", row) for row in rows), "four workers with threads", text)
    expect(re.search(r'runs #\d+ "loop" .* stuck_in_loop', text) or BARE, "who loops", text)
    expect(len(re.findall(r"runs #", text)) == 3, "three of them run", text)


def check_errors():
    for command, message in (("task 999999", "no live task #999999"), ("task nobody bt", 'no live task "nobody"'),
                             ("task behind bt", "has no stack"), ("nonsense", "no such command"), ("task", "Which task")):
        try:
            weft(command)
        except gdb.error as error:
            expect(message in str(error), command, str(error))
        else:
            raise AssertionError("no error: weft " + command)
    expect("weft tasks" in weft(""), "help")


def check_all():
    ids = check_list()
    check_workers()
    if BARE:
        return
    check_groups()
    check_places()
    check_backtraces(ids)
    check_task(ids)
    check_errors()
    check_selecting()
    if "WEFT_CORE" in os.environ:
        weft("core " + os.environ["WEFT_CORE"])


try:
    check_all()
    print("ALL IS RIGHT")
except Exception:
    print(traceback.format_exc())
    gdb.execute("quit 1")
