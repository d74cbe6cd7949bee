"""weft-gdb.py - tasks in gdb: `weft` says what there is. For live processes and for core files, of programs with or without debug information.

Installed beside libweft.so, gdb loads it with the library by itself. But for the prefix /usr that has to be allowed, once, in ~/.gdbinit:
    add-auto-load-safe-path PREFIX/lib
Of static programs: source PREFIX/lib/libweft.so.VERSION-gdb.py

How it knows: the library has a table of its structs' layout in its memory (runtime/layout.c), by the name weft_layout_. Nothing is called in the process.

How a task becomes a backtrace: one that runs is what its worker's thread does. One that waits has its registers on its own stack; while it is selected, an
unwinder says of the selected thread that the caller of its newest frame is the task's. So all that gdb can do with frames it can do with the task's.

gdb runs this in a namespace that all scripts share: so everything has `weft` in its name."""

import re
import struct
import time

import gdb
import gdb.unwinder

WEFT_VERSION = 1  # of the table: WF_LAYOUT_VERSION

WEFT_HELP = """weft tasks [--all] [WORD]   the tasks: what runs, what is queued, what waits. Those at the same place in one line, unless --all.
                            WORD: part of a name, a state (running, scheduled, idle), or a wait (read, mutex, sleep ...)
weft task N                 what is known of task N. Here and below, N may be a name that one task has
weft task N bt [OPTION...]  its backtrace, with gdb's options: full, -frame-arguments all ...
weft task N select          go there: up, down, frame, info locals, print are about it, until `weft back`. Also: weft task N frame
weft back                   leave it
weft workers                the threads that run tasks
weft core FILE              write a core file of a live process: gdb's own gcore may leave stacks of tasks out"""


# ---- memory ----------------------------------------------------------------------------------------------------------

class WeftMemory:
    """What is read, in blocks; for one command, as the process may go on between two."""

    BLOCK = 1 << 16

    def __init__(self):
        self.inferior = gdb.selected_inferior()
        self.blocks, self.window = {}, (0, b"")
        self.pointer = gdb.lookup_type("char").pointer().sizeof
        self.order = ">" if "big endian" in gdb.execute("show endian", to_string=True) else "<"

    def direct(self, at, size):
        return bytes(self.inferior.read_memory(at, size))

    def block(self, base):
        if base not in self.blocks:
            try:
                self.blocks[base] = self.direct(base, self.BLOCK)
            except gdb.MemoryError:
                self.blocks[base] = None
        return self.blocks[base]

    def look_at(self, at, size):
        """Once, and not kept: for the many things of which each lies alone."""
        try:
            self.window = (at, self.direct(at, size))
        except gdb.MemoryError:
            self.window = (0, b"")

    def read(self, at, size):
        begin, data = self.window
        if begin <= at and at + size <= begin + len(data):
            return data[at - begin:at - begin + size]
        base = at & ~(self.BLOCK - 1)
        block = self.block(base) if at + size <= base + self.BLOCK else None
        return block[at - base:at - base + size] if block else self.direct(at, size)

    def uint(self, at, size):
        return int.from_bytes(self.read(at, size), "big" if self.order == ">" else "little")

    def word(self, at):
        return self.uint(at, self.pointer)

    def text(self, at, size):
        return weft_text(self.read(at, size))


def weft_text(data):
    return data.split(b"\0", 1)[0].decode("utf-8", "replace")


# ---- the table of the library's structs ------------------------------------------------------------------------------

def weft_find_symbol():
    try:
        return int(gdb.parse_and_eval("(unsigned long) &weft_layout_"))
    except gdb.error:
        return None


def weft_find_by_magic():
    """Static programs that were stripped have no symbols at all: look for the table itself, where constants are."""
    pattern = r"(0x[0-9a-f]+) - (0x[0-9a-f]+) is \.(?:data\.rel\.ro|rodata|data)\b"
    inferior = gdb.selected_inferior()
    for begin, end in re.findall(pattern, gdb.execute("info files", to_string=True)):
        begin, end = int(begin, 16), int(end, 16)
        try:
            found = inferior.search_memory(begin, end - begin, b"weftgdb\0")
        except gdb.error:
            found = None
        if found:
            return found
    return None


class WeftLayout:
    def __init__(self, memory):
        at = weft_find_symbol() or weft_find_by_magic()
        if not at:
            raise gdb.GdbError("There is no weft here: neither libweft.so nor a program that has it inside.")
        head = memory.direct(at, 16 + 2 * memory.pointer)
        magic, version = struct.unpack_from(memory.order + "8sq", head)
        self.runtimes = memory.word(at + 16)
        if magic != b"weftgdb\0" or memory.word(at + 16 + memory.pointer) != at:
            raise gdb.GdbError("weft has not begun yet: there is no process, nor the core of one.")
        if version != WEFT_VERSION:
            raise gdb.GdbError("This script is of another version of weft than the program.")
        self.fields, self.numbers, self.waits = {}, {}, []
        self.read_entries(memory, at + 16 + 2 * memory.pointer)

    def read_entries(self, memory, at):
        for i in range(1000):
            name, value = struct.unpack(memory.order + "32sq", memory.direct(at + 40 * i, 40))
            name = weft_text(name)
            if not name:
                return
            if name.startswith("wait:"):
                self.waits.append((name[5:], value))
            self.numbers[name] = value
            self.fields[name] = (value & 0xffffffff, value >> 32)

    def offset(self, field):
        return self.fields[field][0]

    def prefixed(self, prefix):
        return [(name[len(prefix):], value) for name, value in self.numbers.items() if name.startswith(prefix)]


# ---- words for people ------------------------------------------------------------------------------------------------

def weft_duration(ns):
    for unit, size in (("d", 86400e9), ("h", 3600e9), ("min", 60e9), ("s", 1e9)):
        if ns >= 1.5 * size or (unit == "s" and ns >= size):
            return "%.3g %s" % (ns / size, unit)
    return "%d ms" % (ns // 1000000)


def weft_symbol(address):
    """The name of the function, or object, that begins at or lies around it; "" if nobody knows."""
    if not address:
        return ""
    text = gdb.execute("info symbol 0x%x" % address, to_string=True)
    return "" if text.startswith("No symbol") else re.sub(r" in section .*", "", text).strip()


def weft_table(rows):
    """Columns as wide as they must be, but for the last one."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.rjust(w) if i == 0 else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths))]
        print(("  ".join(cells + [row[-1]])).rstrip())


# ---- what there is ---------------------------------------------------------------------------------------------------

class WeftTask:
    """A live task. `worker`: its number, or None. `wait`: its kind, as a number in the table, 0 unless it waits."""

    def __init__(self, process, runtime, address, fields):
        number, track = process.layout.numbers, fields["track"]
        flags, word = fields["flags"], fields["state"]
        self.runtime, self.address, self.id, self.word = runtime, address, fields["id"], word
        self.strand, self.body, self.flags = fields["strand"], fields["body"], flags
        self.blocking = bool(flags & number["WF_TASK_BLOCKING"])
        self.kind = "blocking" if self.blocking else "strand" if flags & number["WF_TASK_STRAND"] else "stackless"
        self.state = self.state_of(number, track)
        worker = track >> 32 & 0xffff
        self.worker = None if worker == number["WF_TRACK_NOBODY"] or self.blocking else worker
        self.pinned = bool(flags & number["WF_TASK_PINNED"])
        self.aborted = bool(word & number["WF_S_ABORT"])
        self.age, self.since = process.since(fields["born"]), process.since(track & 0xffffffff)
        waiting = self.state == "idle"
        shift = number["WF_WAIT_SHIFT"]
        self.wait = fields["waits"] >> shift if waiting else 0
        self.object = fields["waits"] & (1 << shift) - 1 if waiting else 0
        self.name = ""
        if fields["extra"]:
            offset, size = process.layout.fields["wf_extra.name"]
            self.name = process.memory.text(fields["extra"] + offset, size)

    def state_of(self, number, track):
        if not self.word & number["WF_S_ACTIVE"]:
            return "idle"
        runs = not self.word & number["WF_S_POOLED"] if self.blocking else track & number["WF_TRACK_RUNNING"]
        return "running" if runs else "scheduled"

    def title(self):
        return "#%d \"%s\"" % (self.id, self.name) if self.name else "#%d" % self.id


class WeftWorker:
    def __init__(self, process, address):
        def get(field):
            return process.get("wf_worker." + field, address)
        self.index, self.thread_id, self.polls = get("index"), get("thread_id"), get("polls")
        self.polling, self.track = get("polling"), get("track")
        self.sleeps, self.seen_at = 0 < get("rest") < 1 << 63, get("seen_at")
        self.latest = self.seen_at


class WeftRuntime:
    def __init__(self, process, address):
        self.address = address
        self.name = process.memory.text(address + process.layout.offset("weft_runtime.name"), 32)
        self.phase = process.get("weft_runtime.phase", address)
        self.clock = process.get("weft_runtime.clock", address)
        workers, size = process.get("weft_runtime.workers", address), process.memory.pointer
        count = process.get("weft_runtime.count", address)
        self.workers = [WeftWorker(process, process.memory.word(workers + i * size)) for i in range(count)]


class WeftProcess:
    """All of it, as it is now."""

    def __init__(self):
        self.memory = WeftMemory()
        self.layout = WeftLayout(self.memory)
        self.runtimes = self.read_runtimes()
        self.exact, self.now = self.read_time()
        self.unpack = self.unpacker()
        self.threads = {thread.ptid[1] or thread.ptid[2]: thread for thread in self.memory.inferior.threads()}
        self.callers = None

    def get(self, field, at):
        offset, size = self.layout.fields[field]
        return self.memory.uint(at + offset, size)

    def nodes(self, head):
        node = self.memory.word(head)
        for _ in range(10000000):
            if node in (head, 0):
                return
            yield node
            node = self.memory.word(node)

    def read_runtimes(self):
        offset = self.layout.offset("weft_runtime.all")
        return [WeftRuntime(self, node - offset) for node in self.nodes(self.layout.runtimes)]

    def read_time(self):
        """A core has no clock: then it is when a worker last looked at one. That of this machine is a process's on this machine only."""
        connection = getattr(self.memory.inferior, "connection", None)
        if connection is not None and connection.type == "native":
            return True, time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        return False, max([w.latest for rt in self.runtimes for w in rt.workers], default=0)

    def since(self, ticks):
        tick = self.layout.numbers["tick ns"]
        past = (self.now // tick - ticks) & 0xffffffff
        return 0 if past > 0xffffffff - (1 << 20) else past * tick # what seems to be later was a moment ago

    # Tasks: a chunk of headers is read at once.

    def unpacker(self):
        names = ("state", "body", "strand", "waits", "id", "extra", "born", "flags", "track")
        found = sorted((self.layout.fields["weft_task." + name], name) for name in names)
        text, at = self.memory.order, 0
        for (offset, size), _ in found:
            text += "%dx%s" % (offset - at, {1: "B", 2: "H", 4: "I", 8: "Q"}[size])
            at = offset + size
        form, order = struct.Struct(text), [name for _, name in found]
        return lambda data, offset: dict(zip(order, form.unpack_from(data, offset)))

    def task_at(self, runtime, address, data, offset):
        word = int.from_bytes(data[offset:offset + 8], "big" if self.memory.order == ">" else "little")
        number = self.layout.numbers
        if word < number["WF_S_REF"] or word & number["WF_S_DONE"]:
            return None
        try:
            return WeftTask(self, runtime, address, self.unpack(data, offset))
        except gdb.MemoryError:
            return None

    def chunk_tasks(self, runtime):
        number = self.layout.numbers
        first, size = number["WF_FIRST_PLACE"], number["WF_HEADER_SIZE"]
        chunk = self.get("wf_heap.newest", self.get("weft_runtime.heap", runtime.address))
        while chunk:
            used = self.get("wf_chunk.used", chunk)
            data = self.memory.direct(chunk + first, used * size) if used else b""
            for i in range(used):
                yield self.task_at(runtime, chunk + first + i * size, data, i * size)
            chunk = self.get("wf_chunk.older", chunk)

    def stored_tasks(self, runtime):
        offset, size = self.layout.fields["weft_runtime.shelves"]
        shelves = self.layout.numbers["WF_SHELVES"]
        head = runtime.address + offset + self.layout.offset("wf_shelf.tasks")
        for i in range(shelves):
            for node in self.nodes(head + i * (size // shelves)):
                address = node - self.layout.offset("wf_stored_task.node")
                data = self.memory.read(address, self.layout.numbers["WF_HEADER_SIZE"])
                yield self.task_at(runtime, address, data, 0)

    def tasks(self, runtime):
        yield from filter(None, self.chunk_tasks(runtime))
        yield from filter(None, self.stored_tasks(runtime))

    def task(self, number):
        return self.only_task("#%d" % number, lambda task: task.id == number)

    def task_named(self, name):
        return self.only_task("\"%s\"" % name, lambda task: task.name == name)

    def only_task(self, what, is_it):
        found = [task for runtime in self.runtimes for task in self.tasks(runtime) if is_it(task)]
        if len(found) != 1:
            raise gdb.GdbError("There %s." % ("are %d live tasks %s" % (len(found), what) if found else "is no live task " + what))
        return found[0]

    # Threads.

    def worker_thread(self, worker):
        return self.threads.get(worker.thread_id)

    def thread_of(self, task):
        """That runs it now, or the blocking call it is in; or None."""
        if task.state == "running" and not task.blocking and task.worker is not None:
            return self.worker_thread(task.runtime.workers[task.worker])
        if task.blocking or self.wait_text(task) == "blocking":
            return self.find_callers().get(task.address)
        return None

    def find_callers(self):
        """Task to thread of the pool. On duty for a task, the thread has a wf_exec on its stack, which has its own address in it."""
        if self.callers is None:
            workers = {w.thread_id for rt in self.runtimes for w in rt.workers}
            self.callers = {}
            with WeftVisit(None):
                for number, thread in self.threads.items():
                    if number not in workers:
                        self.find_caller(thread)
        return self.callers

    def find_caller(self, thread):
        """Page by page, as what lies behind the stack may not be readable."""
        thread.switch()
        size, own, page = self.memory.pointer, self.layout.offset("wf_exec.self"), 1 << 12
        at = int(gdb.newest_frame().read_register("sp")) & ~(size - 1)
        for _ in range(64):
            count = (page - at % page) // size
            try:
                data = self.memory.direct(at, count * size)
            except gdb.MemoryError:
                return
            for i, word in enumerate(struct.unpack("%s%d%s" % (self.memory.order, count, "Q" if size == 8 else "I"), data)):
                if word == at + i * size - own:
                    self.callers[self.get("wf_exec.task", word)] = thread
            at += count * size

    # What a task waits for.

    def wait_text(self, task):
        return self.layout.waits[task.wait][0] if task.wait < len(self.layout.waits) else "?"

    def wait_object(self, task):
        number = self.layout.numbers
        kind = self.layout.waits[task.wait][1] if task.wait < len(self.layout.waits) else 0
        if kind == number["WF_OBJECT_ADDRESS"]:
            symbol = weft_symbol(task.object)
            return "0x%x%s" % (task.object, " (%s)" % symbol if symbol else "")
        if kind == number["WF_OBJECT_DESCRIPTOR"]:
            fd = task.object & 0xffffffff
            return "in memory" if fd >> 31 else "fd %d" % fd
        if kind == number["WF_OBJECT_TASK"]:
            return "#%d" % task.object
        if kind == number["WF_OBJECT_NUMBER"]:
            return "%d" % task.object
        return self.wait_time(task) if kind == number["WF_OBJECT_TIME"] else ""

    def wait_time(self, task):
        clock = task.runtime.clock
        if task.object == (1 << self.layout.numbers["WF_WAIT_SHIFT"]) - 1:
            return "" # for ever
        left = task.object - (self.memory.uint(clock, 8) if clock else self.now)
        return "in " + weft_duration(left) if left >= 0 else weft_duration(-left) + " ago"

    def waits_for(self, task):
        return (self.wait_text(task) + " " + self.wait_object(task)).strip()


# ---- stacks ----------------------------------------------------------------------------------------------------------

class WeftPiece:
    """One stack of a strand: its own, or a coroutine's in it. `sp`: where its registers are, or None: it runs, on `thread`.
    `top`: the record at the top of the stack, which is where its first frame begins."""

    def __init__(self, sp, top, thread):
        self.sp, self.top, self.thread = sp, top, thread


def weft_pieces(process, task):
    """The innermost first. Empty: it has no stack (any more, yet, or of its own)."""
    thread = process.thread_of(task) if task.state == "running" else None
    if task.blocking or not task.strand:
        return [WeftPiece(None, None, thread)] if thread else []
    if task.state == "running" and not thread:
        return []
    pieces, body = [], process.get("wf_exec.body", task.strand + process.layout.offset("wf_strand.exec"))
    while body and len(pieces) < 100:
        top = process.get("wf_body.coro", body) or task.strand
        if thread and not pieces:
            pieces.append(WeftPiece(None, top, thread))
        else:
            sp = process.get("wf_ctx.sp", process.get("wf_body.ctx", body))
            pieces.append(WeftPiece(sp, top, None))
        body = process.get("wf_body.outer", body)
    return pieces or [WeftPiece(None, None, thread)] * (thread is not None)


class WeftView:
    """What the unwinder makes of the selected thread: the piece of a strand. One at a time."""

    current = None

    def __init__(self, process, piece):
        self.piece = piece
        self.thread = piece.thread or gdb.selected_thread()
        if self.thread is None:
            raise gdb.GdbError("There is no thread here to show it in.")
        self.ptid = self.thread.ptid
        self.sp = int(gdb.newest_frame().read_register("sp")) if piece.sp is not None else None # the thread's own
        number = process.layout.numbers
        if piece.sp is not None and not process.layout.prefixed("at:"):
            raise gdb.GdbError("Where a task that waits has its registers is not known for this machine.")
        self.entry_frames = number["entry:frames"]
        self.first = (piece.top - number["entry:size"] & ~63) - number["entry:below"] if piece.top else 0
        self.registers = self.saved(process) if piece.sp is not None else None

    def saved(self, process):
        kind = gdb.lookup_type("unsigned long")
        registers = {name: gdb.Value(self.piece.sp + offset).cast(kind) for name, offset in process.layout.prefixed("add:")}
        for name, offset in process.layout.prefixed("at:"):
            registers[name] = gdb.Value(process.memory.direct(self.piece.sp + offset, process.memory.pointer), kind)
        return registers

    def is_here(self):
        thread = gdb.selected_thread()
        return thread is not None and thread.ptid == self.ptid

    @classmethod
    def set(cls, view):
        if cls.current is not view:
            cls.current = view
            gdb.invalidate_cached_frames()
        if view and not view.is_here():
            view.thread.switch()


class WeftVisit:
    """with WeftVisit(view): there and back again. None: the threads as they are."""

    def __init__(self, view):
        self.view = view

    def __enter__(self):
        self.before, self.thread = WeftView.current, gdb.selected_thread()
        try:
            self.level = gdb.selected_frame().level()
        except gdb.error:
            self.level = 0
        WeftView.set(self.view)

    def __exit__(self, *error):
        if self.thread is not None:
            self.thread.switch()
        WeftView.set(self.before)
        frame = gdb.newest_frame() if self.level > 0 else None
        while frame is not None and frame.level() < self.level:
            frame = frame.older()
        if frame is not None:
            frame.select()
        return False


class WeftFrameId:
    def __init__(self, sp, pc):
        self.sp, self.pc = sp, pc


class WeftUnwinder(gdb.unwinder.Unwinder):
    """The caller of the newest frame is the strand's, where it was left. That frame's own place is said to be just below, as gdb wants callers above."""

    def __init__(self):
        super().__init__("weft")

    def __call__(self, pending):
        view = WeftView.current
        if view is None or view.registers is None or not view.is_here() or int(pending.read_register("sp")) != view.sp:
            return None # the newest may be functions inlined into the one that is meant: all of them are at its stack pointer
        pc = pending.read_register("pc")
        info = pending.create_unwind_info(WeftFrameId(gdb.Value(view.piece.sp).cast(gdb.lookup_type("unsigned long")), pc))
        for name, value in view.registers.items():
            info.add_saved_register(name, value)
        return info


WEFT_SWITCHES = {"wf_switch", "wf_switch_code", "wf_ctx_switch", "wf_ctx_switch_code", "wf_ctx_switch_tsan", "wf_strand_go",
                 "swapcontext", "suspend", "yield"}


def weft_library(frame):
    """Of the shared library that it is in, without directory and version; "" for the program itself."""
    path = gdb.solib_name(frame.pc())
    return re.sub(r"[-.0-9]*\.so.*", "", path.rsplit("/", 1)[-1]) if path else ""


def weft_is_beneath(frame, view):
    """Where the stack was begun, beneath the two or three frames that call a strand's function. What unwinders find further down may be anything."""
    sp = int(frame.read_register("sp"))
    return view.piece.top is not None and view.first <= sp <= view.piece.top


def weft_visible(frames, view, frame_of=lambda frame: frame):
    """Those of the program, out of all from the newest on: without the thread's own, the switch, and what calls the strand's function."""
    late, leading, ended = [], view.registers is not None, False
    for item in frames:
        frame = frame_of(item)
        if leading and (int(frame.read_register("sp")) == view.sp or frame.name() in WEFT_SWITCHES or (not frame.name() and weft_library(frame) == "libweft")):
            continue
        leading, ended = False, weft_is_beneath(frame, view)
        if ended:
            break
        late.append((item, frame))
        if len(late) > 2 * view.entry_frames + 2: # with what is inlined into them
            yield late.pop(0)[0]
    real = 0
    while ended and late and (real < view.entry_frames or late[-1][1].type() == gdb.INLINE_FRAME):
        real += late.pop()[1].type() != gdb.INLINE_FRAME
    for item, _ in late:
        yield item


def weft_frames(view, most=64):
    """Of the view that is set."""
    def all_frames():
        frame, count = gdb.newest_frame(), 0
        while frame is not None and count < most:
            yield frame
            frame, count = frame.older(), count + 1
    return list(weft_visible(all_frames(), view))


class WeftFilter:
    """For `bt` where a strand is selected."""

    def __init__(self):
        self.name, self.priority, self.enabled = "weft", 100, True
        gdb.frame_filters[self.name] = self

    def filter(self, frames):
        view = WeftView.current
        if view is None or not view.is_here():
            return frames
        return weft_visible(frames, view, lambda decorated: decorated.inferior_frame())


def weft_leave(_=None):
    WeftView.current = None


# ---- where a task is -------------------------------------------------------------------------------------------------

WEFT_BENEATH = re.compile(r"(lib(c|pthread|m|uv|weft.*|asan|tsan|ubsan|gcc_s|stdc\+\+)|ld-linux.*|linux-vdso|linux-gate)$")


WEFT_ROOMS = ("base", "timer", "reactor", "runtime", "sync", "net", "system", "diag", "tls")


def weft_sources():
    """Where the library's sources were, if its debug information is here: for static programs, whose functions stand among weft's."""
    table = gdb.lookup_global_symbol("weft_layout_")
    name = table.symtab.filename if table is not None and table.symtab is not None else ""
    found = re.fullmatch("(.*?)(?:%s)/[^/]+" % "|".join(WEFT_ROOMS), name) # link-time optimization says any of its files
    return tuple(found[1] + room + "/" for room in WEFT_ROOMS) if found else ()


def weft_is_program(frame, sources):
    """A frame of whoever uses weft, as far as one can tell."""
    name, where = frame.name(), frame.find_sal()
    if not name or name.startswith(("weft_", "wf_")) or WEFT_BENEATH.match(weft_library(frame)):
        return False
    return where.symtab is None or not where.symtab.filename.startswith(sources or "\0")


def weft_program_frame(frames):
    """The innermost frame of the program: outside of what weft's own innermost function called, which static programs have among theirs."""
    public = [i for i, frame in enumerate(frames) if (frame.name() or "").startswith("weft_")]
    sources = weft_sources()
    for frame in frames[public[0]:] if public else frames:
        if weft_is_program(frame, sources):
            return frame
    return None


def weft_describe(frame):
    where = frame.find_sal()
    text = frame.name() or "0x%x" % frame.pc()
    if where.symtab is not None:
        text += " (%s:%d)" % (where.symtab.filename.rsplit("/", 1)[-1], where.line)
    return text


def weft_outline(frames):
    """In one line: the program's function, and what it is in."""
    if not frames:
        return ""
    mine = weft_program_frame(frames)
    named = [frame for frame in frames if frame.name()]
    if mine is None:
        return weft_describe(named[0] if named else frames[0])
    inner = frames[:frames.index(mine)]
    calls = [re.sub(r"^_+(GI_|libc_)?", "", frame.name() or "") for frame in inner]
    calls = [name for name in calls if name and not name.startswith(("wf_", "futex_", "lll_"))]
    public = [name for name in calls if name.startswith("weft_")] or calls
    public = public or [weft_library(frame) for frame in inner]
    return weft_describe(mine) + (", in " + public[-1] if public and public[-1] else "")


def weft_place(process, task):
    """(outline, return addresses, where on the stack they are) of the innermost stack."""
    try:
        pieces = weft_pieces(process, task)
        if not pieces:
            return None
        view = WeftView(process, pieces[0])
        with WeftVisit(view):
            frames = weft_frames(view)
            pcs = [frame.pc() for frame in frames if frame.type() != gdb.INLINE_FRAME]
            return weft_outline(frames), pcs
    except gdb.error:
        return None


def weft_begins(process, task):
    """Of one that has no stack: what is to be called."""
    if task.kind != "stackless":
        return "begins at " + (weft_symbol(task.body) or "0x%x" % task.body) if not task.strand and task.state == "scheduled" else ""
    if not task.body:
        return ""
    poll = process.get("weft_future_ops.poll", process.get("weft_future.ops", task.body))
    return "polled by " + (weft_symbol(poll) or "0x%x" % poll)


def weft_where(process, task):
    place = weft_place(process, task)
    try:
        return place[0] if place else weft_begins(process, task)
    except gdb.MemoryError:
        return ""


# ---- those at the same place -----------------------------------------------------------------------------------------

class WeftSpot:
    """A place where strands were found, and how to recognize it: a stack just as deep, with the same return addresses in it where they are."""

    def __init__(self, outline, pcs, stack, process):
        self.outline, self.pcs, self.depth = outline, tuple(pcs), len(stack)
        size, at, self.slots = process.memory.pointer, 0, []
        for pc in pcs:
            word = pc.to_bytes(size, "big" if process.memory.order == ">" else "little")
            at = stack.find(word, at)
            while at >= 0 and at % size:
                at = stack.find(word, at + 1)
            if at < 0:
                break
            self.slots.append((at, at + size, word))
            at += size

    def matches(self, stack):
        return len(stack) == self.depth and all(stack[a:b] == word for a, b, word in self.slots)


class WeftPlaces:
    """Finds out where thousands of strands wait: gdb unwinds one of each kind, the others are compared with it."""

    MOST, DEEPEST, NEAR = 200, 1 << 16, 1 << 10

    def __init__(self, process):
        self.process, self.spots, self.unwound = process, {}, 0

    def stack(self, piece):
        size = max(0, min(piece.top - piece.sp, self.DEEPEST))
        return self.process.memory.read(piece.sp, size) if size <= self.NEAR else self.process.memory.direct(piece.sp, size)

    def key(self, task):
        """(something that is equal at equal places, the outline)"""
        try:
            if task.kind != "strand" or task.state == "running" or not task.strand:
                outline = weft_where(self.process, task)
                return outline, outline
            return self.of_strand(task)
        except gdb.error:
            return None, "?"

    def of_strand(self, task):
        self.process.memory.look_at(task.strand - self.NEAR, self.NEAR + self.process.layout.numbers["wf_strand size"])
        pieces = weft_pieces(self.process, task)
        if not pieces or not pieces[0].sp:
            return None, "its stack is not in the core"
        stack = self.stack(pieces[0])
        known = self.spots.setdefault(len(stack), [])
        for spot in known:
            if spot.matches(stack):
                return spot.pcs, spot.outline
        if self.unwound >= self.MOST:
            return None, ""
        self.unwound += 1
        outline, pcs = weft_place(self.process, task) or ("?", [])
        known.append(WeftSpot(outline, pcs, stack, self.process))
        return tuple(pcs), outline


class WeftGroup:
    def __init__(self, outline):
        self.tasks, self.outline = [], outline


def weft_groups(process, tasks):
    """Suspicious ones first: what runs, the longest first; what is queued; then who waits where few do."""
    groups, places = {}, WeftPlaces(process)
    for task in tasks:
        place, outline = places.key(task)
        alone = task.id if task.state == "running" else None
        key = (task.state, task.kind, process.wait_text(task), place, alone)
        groups.setdefault(key, WeftGroup(outline)).tasks.append(task)
    order = {"running": 0, "scheduled": 1, "idle": 2}
    for group in groups.values():
        group.tasks.sort(key=lambda task: (-task.since, task.id))
    return sorted(groups.values(), key=lambda g: (order[g.tasks[0].state], len(g.tasks), -g.tasks[0].since, g.tasks[0].id))


# ---- weft tasks ------------------------------------------------------------------------------------------------------

WEFT_FEW = 3  # so many at one place have a line each


def weft_row(process, task, outline):
    worker = "" if task.worker is None else str(task.worker)
    notes = ["pinned"] * task.pinned + ["aborted"] * task.aborted + [task.kind] * (task.kind != "strand")
    return [str(task.id), task.name, " ".join([task.state] + notes), worker, weft_duration(task.age), weft_duration(task.since),
            process.waits_for(task), outline]


def weft_common(names):
    """What a group is called: the name, or what all of them begin with."""
    first, last = min(names), max(names)
    same = 0
    while same < len(first) and same < len(last) and first[same] == last[same]:
        same += 1
    return first if first == last else first[:same] + "*"


def weft_group_row(process, group):
    task, count = group.tasks[0], len(group.tasks)
    ids = ["#%d" % t.id for t in sorted(group.tasks, key=lambda t: t.id)[:3]]
    objects = sorted({process.wait_object(t) for t in group.tasks[:1000]})
    what = process.wait_text(task) + (" " + objects[0] if len(objects) == 1 else "")
    return ["%dx" % count, weft_common([t.name for t in group.tasks]), task.state + ("" if task.kind == "strand" else " " + task.kind), "",
            weft_duration(max(t.age for t in group.tasks)), weft_duration(task.since), what.strip(),
            group.outline + "  [" + ", ".join(ids) + (", ...]" if count > 3 else "]")]


def weft_matches(process, task, word):
    state = {"waiting": "idle", "queued": "scheduled"}.get(word, word)
    return state in (task.state, task.kind) or word == process.wait_text(task) or word in task.name


def weft_print_tasks(process, runtime, everything, word):
    tasks = list(process.tasks(runtime))
    count = {state: sum(task.state == state for task in tasks) for state in ("running", "scheduled", "idle")}
    phase = {process.layout.numbers[name]: " " + text for name, text in
             (("WF_CLOSING", "(shutting down)"), ("WF_STOPPED", "(stopped)"), ("WF_ABANDONED", "(abandoned)"), ("WF_FORKED", "(a fork's copy)"))}
    print("runtime \"%s\"%s: %d workers, %d tasks: %d running, %d scheduled, %d idle%s" % (
        runtime.name, phase.get(runtime.phase, ""), len(runtime.workers), len(tasks), count["running"], count["scheduled"], count["idle"],
        "" if process.exact else "; times are about right"))
    if word:
        tasks = [task for task in tasks if weft_matches(process, task, word)]
    rows = [["ID", "NAME", "STATE", "WORKER", "AGE", "SINCE", "WAITS FOR", "AT"]]
    for group in weft_groups(process, tasks):
        if everything or len(group.tasks) <= WEFT_FEW:
            rows += [weft_row(process, task, group.outline) for task in group.tasks]
        else:
            rows.append(weft_group_row(process, group))
    if len(rows) > 1:
        weft_table(rows)


# ---- weft workers ----------------------------------------------------------------------------------------------------

def weft_worker_row(process, runtime, worker, running):
    thread = process.worker_thread(worker)
    where = "%d (LWP %d)" % (thread.num, worker.thread_id) if thread else "LWP %d" % worker.thread_id if worker.thread_id else "none"
    task = running.get(worker.index)
    if task:
        state, since = "runs " + task.title(), task.since
    elif worker.sleeps:
        state, since = "sleeps", process.now - worker.seen_at
    else:
        state, since = "awake", process.now - worker.seen_at
    seen = weft_duration(max(0, process.now - worker.seen_at))
    return [str(worker.index), where, state, weft_duration(max(0, since)), seen, str(worker.polls), weft_where(process, task) if task else ""]


def weft_print_workers(process, runtime):
    running = {task.worker: task for task in process.tasks(runtime) if task.state == "running" and not task.blocking}
    print("runtime \"%s\"%s" % (runtime.name, "" if process.exact else "; times are about right"))
    rows = [["WORKER", "THREAD", "STATE", "SINCE", "LOOKED AROUND", "POLLS", "AT"]]
    weft_table(rows + [weft_worker_row(process, runtime, worker, running) for worker in runtime.workers])


# ---- weft task N -----------------------------------------------------------------------------------------------------

def weft_headline(process, task):
    thread = process.thread_of(task)
    where = "" if task.worker is None else " on worker %d" % task.worker
    if thread is not None:
        where += (", its call" if task.state == "idle" else ",") + " on thread %d (LWP %d)" % (thread.num, thread.ptid[1] or thread.ptid[2])
    waits = process.waits_for(task)
    return "task %s: %s, %s%s for %s%s" % (task.title(), task.kind, task.state, where, weft_duration(task.since), ", waits for " + waits if waits else "")


def weft_joined(process, task):
    """The name of the task that it waits for."""
    if process.wait_text(task) != "join":
        return ""
    try:
        return process.task(task.object).title()
    except gdb.GdbError:
        return ""


def weft_print_task(process, task):
    pieces = weft_pieces(process, task)
    lines = [("born", weft_duration(task.age) + " ago"), ("in runtime", "\"%s\"" % task.runtime.name), ("at", weft_where(process, task)),
             ("joins", weft_joined(process, task)), ("pinned", "to worker %s" % task.worker if task.pinned else ""),
             ("aborted", "asked to stop" if task.aborted else ""), ("references", str(task.word // process.layout.numbers["WF_S_REF"])),
             ("header", "(weft_task *) 0x%x" % task.address), ("record", "(wf_strand *) 0x%x" % task.strand if task.strand else ""),
             ("stack", ", ".join("from 0x%x, %d bytes in use" % (p.top, p.top - p.sp) for p in pieces if p.sp))]
    print(weft_headline(process, task))
    for name, text in lines:
        if text:
            print("  %-10s  %s" % (name, text))


def weft_need_pieces(process, task):
    pieces = weft_pieces(process, task)
    if not pieces:
        raise gdb.GdbError("%s has no stack: %s." % (task.title(), weft_begins(process, task) or "nobody runs it"))
    return pieces


def weft_print_backtrace(process, task, options):
    pieces = weft_need_pieces(process, task)
    print(weft_headline(process, task))
    for i, piece in enumerate(pieces):
        if i > 0:
            print("in a coroutine, which was resumed by:")
        with WeftVisit(WeftView(process, piece)):
            gdb.execute("backtrace " + options)


def weft_select(process, task, number):
    pieces = weft_need_pieces(process, task)
    if not 0 <= number < len(pieces):
        raise gdb.GdbError("%s has %d stacks: from 0, which is the innermost." % (task.title(), len(pieces)))
    view = WeftView(process, pieces[number])
    WeftView.set(view)
    frames = weft_frames(view)
    chosen = weft_program_frame(frames) or (frames[0] if frames else gdb.newest_frame())
    chosen.select()
    print(weft_headline(process, task) + "; `weft back` leaves it")
    gdb.execute("frame")


# ---- weft core -------------------------------------------------------------------------------------------------------

class WeftCore:
    """A core file that gdb has written. gdb takes memory by the megabyte, and leaves out the rest of a mapping once a page in it cannot be read; below each
    stack there is one. So what it says that it has left out is filled in, page by page. (The kernel's own cores are whole.)"""

    PAGE, BLOCK = 1 << 12, 1 << 16

    def __init__(self, path):
        self.path, self.inferior = path, gdb.selected_inferior()

    def write(self):
        said = gdb.execute("generate-core-file " + self.path, to_string=True)
        holes = [int(at, 16) for at in re.findall(r"Memory read failed for corefile section, \d+ bytes at (0x[0-9a-f]+)", said)]
        with open(self.path, "r+b") as file:
            segments = list(self.segments(file))
            for hole in holes:
                for offset, begin, end in segments:
                    if begin <= hole < end:
                        self.fill(file, offset - begin, hole, end)

    def segments(self, file):
        """(offset in the file, first address, end) of each that has memory in it."""
        head = file.read(64)
        wide, order = head[4] == 2, ">" if head[5] == 2 else "<"
        start, = struct.unpack_from(order + ("Q" if wide else "I"), head, 32 if wide else 28)
        size, count = struct.unpack_from(order + "HH", head, 54 if wide else 42)
        if count == 0xffff:
            section, = struct.unpack_from(order + ("Q" if wide else "I"), head, 40 if wide else 32)
            file.seek(section + (44 if wide else 28))
            count, = struct.unpack(order + "I", file.read(4))
        file.seek(start)
        table = file.read(size * count)
        for i in range(count):
            if wide:
                kind, _, offset, at, _, stored = struct.unpack_from(order + "IIQQQQ", table, i * size)
            else:
                kind, offset, at, _, stored = struct.unpack_from(order + "IIIII", table, i * size)
            if kind == 1 and stored:
                yield offset, at, at + stored

    def fill(self, file, shift, at, end):
        while at < end:
            size = min(self.BLOCK - at % self.BLOCK, end - at)
            if not self.copy(file, shift, at, size):
                for page in range(at, at + size, self.PAGE):
                    self.copy(file, shift, page, min(self.PAGE, at + size - page))
            at += size

    def copy(self, file, shift, at, size):
        try:
            data = bytes(self.inferior.read_memory(at, size))
        except gdb.MemoryError:
            return False
        if data.strip(b"\0"): # else it is a hole in the file, too
            file.seek(at + shift)
            file.write(data)
        return True


# ---- the commands ----------------------------------------------------------------------------------------------------

class WeftCommand(gdb.Command):
    """Tasks of weft: `weft` alone lists what there is."""

    def __init__(self):
        super().__init__("weft", gdb.COMMAND_STACK, prefix=True)

    def invoke(self, argument, from_tty):
        if argument:
            raise gdb.GdbError("There is no such command.\n" + WEFT_HELP)
        print(WEFT_HELP)


class WeftTasksCommand(gdb.Command):
    """weft tasks [--all] [WORD]: the tasks, those at the same place in one line unless --all.
WORD: part of a name, a state, or a wait."""

    def __init__(self):
        super().__init__("weft tasks", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        words = gdb.string_to_argv(argument)
        rest = [word for word in words if word != "--all"]
        process = WeftProcess()
        if not process.runtimes:
            print("There is no runtime.")
        for runtime in process.runtimes:
            weft_print_tasks(process, runtime, "--all" in words, " ".join(rest))


class WeftTaskCommand(gdb.Command):
    """weft task N: what is known of task N.
weft task N bt [OPTION...]: its backtrace.
weft task N select [K], or frame: go there, until `weft back`. K: 1 for whoever resumed the coroutine that it is in, and so on."""

    def __init__(self):
        super().__init__("weft task", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        words = gdb.string_to_argv(argument)
        if not words:
            raise gdb.GdbError("Which task? weft task N")
        verb, rest = words[1] if len(words) > 1 else "", words[2:]
        process = WeftProcess()
        number = words[0].lstrip("#")
        task = process.task(int(number)) if number.isdigit() else process.task_named(words[0])
        if verb == "":
            weft_print_task(process, task)
        elif verb in ("bt", "backtrace", "where"):
            weft_print_backtrace(process, task, " ".join(rest))
        elif verb in ("select", "frame"):
            weft_select(process, task, int(rest[0]) if rest and rest[0].isdigit() else 0)
        else:
            raise gdb.GdbError("weft task N, weft task N bt, weft task N select")


class WeftBackCommand(gdb.Command):
    """weft back: the threads are as they are again."""

    def __init__(self):
        super().__init__("weft back", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        WeftView.set(None)
        gdb.execute("frame 0")


class WeftWorkersCommand(gdb.Command):
    """weft workers: the threads that run tasks, and what they do."""

    def __init__(self):
        super().__init__("weft workers", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        process = WeftProcess()
        for runtime in process.runtimes:
            weft_print_workers(process, runtime)


class WeftCoreCommand(gdb.Command):
    """weft core FILE: write a core file of the live process, with the stacks of all tasks: `generate-core-file` may leave some out."""

    def __init__(self):
        super().__init__("weft core", gdb.COMMAND_FILES, gdb.COMPLETE_FILENAME)

    def invoke(self, argument, from_tty):
        if not argument:
            raise gdb.GdbError("Where to? weft core FILE")
        WeftCore(argument).write()
        print("Saved corefile " + argument)


for weft_command in (WeftCommand, WeftTasksCommand, WeftTaskCommand, WeftBackCommand, WeftWorkersCommand, WeftCoreCommand):
    weft_command()
WeftFilter()
gdb.unwinder.register_unwinder(None, WeftUnwinder(), replace=True)
gdb.events.cont.connect(weft_leave)
gdb.events.exited.connect(weft_leave)
