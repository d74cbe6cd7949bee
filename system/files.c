/* files.c - files: plain system calls, made on threads of the pool.
 *
 * A request lies on the caller's stack and is done by one function that cannot suspend: only such ones look at errno. What needs a buffer
 * has it on the heap or on the pool's stack, never on the strand's. */
#include <base/random.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <runtime/pool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <weft/os.h>

struct weft_file {
    int fd;
};

/* What one function wants to know, and what it has to say. */
typedef struct request {
    const char *path, *to;
    int fd, flags;
    unsigned mode;
    int64_t offset;
    union {
        void *buf;
        const void *data;
    };
    size_t size;
    weft_file_info *info;
    char *name;   /* of a temporary file, PATH_MAX bytes; or NULL */
    char **names; /* of a directory */
    bool done;    /* a close */
} request;

static ssize_t elsewhere(ssize_t (*call)(void *arg), request *r) { return wf_pool_call(WF_LANE_FILES, call, r); }

/* For what names a file: a failure says which. */
static int named(const char *what, const char *path, ssize_t code)
{
    return code < 0 ? weft_error_set((int)code, "%s %s: %s", what, path, weft_strerror((int)code)) : (int)code;
}

/* ---- system calls -------------------------------------------------------------------------------------------- */

/* The result, or the negative code. Again if a signal came in between. */
#define RETRY(call)                       \
    __extension__({                       \
        ssize_t n_;                       \
        do                                \
            n_ = (ssize_t)(call);         \
        while (n_ < 0 && errno == EINTR); \
        n_ < 0 ? (ssize_t)-errno : n_;    \
    })

static ssize_t or_code(int result) { return result < 0 ? -errno : result; }

/* Not again: whatever it says, the descriptor is gone. So an interruption is no failure. */
static ssize_t close_fd(int fd)
{
    ssize_t err = or_code(close(fd));
    return err == -EINTR ? 0 : err;
}

static ssize_t write_all(int fd, const char *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = RETRY(write(fd, data + done, size - done));
        if (n <= 0)
            return n < 0 ? n : -EIO;
        done += (size_t)n;
    }
    return (ssize_t)size;
}

static ssize_t pwrite_all(int fd, const char *data, size_t size, int64_t offset)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = RETRY(pwrite(fd, data + done, size - done, offset + (int64_t)done));
        if (n <= 0)
            return n < 0 ? n : -EIO;
        done += (size_t)n;
    }
    return (ssize_t)size;
}

/* ---- opening and closing ------------------------------------------------------------------------------------- */

static ssize_t do_open(void *arg)
{
    request *r = arg;
    return RETRY(open(r->path, r->flags | O_CLOEXEC, r->mode));
}

/* With a handle that was allocated before, so that nothing fails once the file is open. */
static int open_by(ssize_t (*call)(void *arg), request *r, weft_file **out)
{
    *out = NULL;
    weft_file *file = malloc(sizeof *file);
    if (!file)
        return WEFT_ENOMEM;
    ssize_t fd = elsewhere(call, r);
    if (fd < 0) {
        free(file);
        return (int)fd;
    }
    file->fd = (int)fd;
    *out = file;
    return 0;
}

int weft_file_open(weft_file **file, const char *path, int flags, unsigned mode)
{
    if (!file)
        return WEFT_EINVAL;
    *file = NULL;
    if (!path)
        return WEFT_EINVAL;
    request r = {.path = path, .flags = flags, .mode = mode};
    return named("open", path, open_by(do_open, &r, file));
}

static const char *temporary_directory(const char *wanted)
{
    const char *directory = wanted ? wanted : getenv("TMPDIR");
    return directory && *directory ? directory : "/tmp";
}

/* Written anew each time: a try leaves its own letters in the name. */
static ssize_t make_named(const char *directory, char *name)
{
    ssize_t fd;
    do {
        if (snprintf(name, PATH_MAX, "%s/weft-XXXXXX", directory) >= PATH_MAX)
            return -ENAMETOOLONG;
        fd = or_code(mkostemp(name, O_CLOEXEC));
    } while (fd == -EINTR);
    return fd;
}

/* Where the file system has no nameless files: one whose name is gone at once. */
static ssize_t make_nameless(const char *directory)
{
    char name[PATH_MAX];
    ssize_t fd = RETRY(open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (fd >= 0 || (fd != -EOPNOTSUPP && fd != -EISDIR && fd != -EINVAL))
        return fd;
    if ((fd = make_named(directory, name)) >= 0)
        unlink(name);
    return fd;
}

static ssize_t do_temporary(void *arg)
{
    request *r = arg;
    const char *directory = temporary_directory(r->path);
    return r->name ? make_named(directory, r->name) : make_nameless(directory);
}

int weft_file_temporary(weft_file **file, const char *directory, char *path)
{
    if (!file)
        return WEFT_EINVAL;
    request r = {.path = directory, .name = path};
    return named("a temporary file in", directory ? directory : "TMPDIR", open_by(do_temporary, &r, file));
}

/* Never part of weft_file_close(), which can suspend. */
WF_NOINLINE static ssize_t do_close(void *arg)
{
    request *r = arg;
    r->done = true;
    return close_fd(r->fd);
}

/* Where nothing can wait, or no thread is to be had, it is closed here. */
void weft_file_close(weft_file *file)
{
    if (!file)
        return;
    request r = {.fd = file->fd};
    bool shielded = weft_shield_enter() == 0;
    elsewhere(do_close, &r);
    if (shielded)
        weft_shield_leave();
    if (!r.done)
        do_close(&r);
    free(file);
}

int weft_file_fd(weft_file *file) { return file ? file->fd : WEFT_EINVAL; }

/* ---- reading and writing ------------------------------------------------------------------------------------- */

static ssize_t do_read(void *arg)
{
    request *r = arg;
    return RETRY(read(r->fd, r->buf, r->size));
}

static ssize_t do_pread(void *arg)
{
    request *r = arg;
    return RETRY(pread(r->fd, r->buf, r->size, r->offset));
}

static ssize_t do_write(void *arg)
{
    request *r = arg;
    return write_all(r->fd, r->data, r->size);
}

static ssize_t do_pwrite(void *arg)
{
    request *r = arg;
    return pwrite_all(r->fd, r->data, r->size, r->offset);
}

static bool senseless(const weft_file *file, const void *buf, size_t size)
{
    return !file || (!buf && size > 0) || size > SSIZE_MAX;
}

ssize_t weft_file_read(weft_file *file, void *buf, size_t size)
{
    if (senseless(file, buf, size))
        return WEFT_EINVAL;
    request r = {.fd = file->fd, .buf = buf, .size = size};
    return elsewhere(do_read, &r);
}

ssize_t weft_file_write(weft_file *file, const void *buf, size_t size)
{
    if (senseless(file, buf, size))
        return WEFT_EINVAL;
    request r = {.fd = file->fd, .data = buf, .size = size};
    return elsewhere(do_write, &r);
}

ssize_t weft_file_pread(weft_file *file, void *buf, size_t size, int64_t offset)
{
    if (senseless(file, buf, size))
        return WEFT_EINVAL;
    request r = {.fd = file->fd, .buf = buf, .size = size, .offset = offset};
    return elsewhere(do_pread, &r);
}

ssize_t weft_file_pwrite(weft_file *file, const void *buf, size_t size, int64_t offset)
{
    if (senseless(file, buf, size))
        return WEFT_EINVAL;
    request r = {.fd = file->fd, .data = buf, .size = size, .offset = offset};
    return elsewhere(do_pwrite, &r);
}

int64_t weft_file_seek(weft_file *file, int64_t offset, int whence)
{
    if (!file)
        return WEFT_EINVAL;
    int64_t at = lseek(file->fd, offset, whence);
    return at < 0 ? -errno : at;
}

/* ---- the file itself ----------------------------------------------------------------------------------------- */

static int64_t nanoseconds(const struct timespec *t) { return t->tv_sec * WEFT_SEC + t->tv_nsec; }

static void describe(weft_file_info *info, const struct stat *st)
{
    *info = (weft_file_info){
        .size = (uint64_t)st->st_size,
        .device = (uint64_t)st->st_dev,
        .inode = (uint64_t)st->st_ino,
        .links = (uint64_t)st->st_nlink,
        .modified = nanoseconds(&st->st_mtim),
        .accessed = nanoseconds(&st->st_atim),
        .changed = nanoseconds(&st->st_ctim),
        .mode = (uint32_t)st->st_mode,
        .uid = (uint32_t)st->st_uid,
        .gid = (uint32_t)st->st_gid,
    };
}

static ssize_t do_stat(void *arg)
{
    request *r = arg;
    struct stat st;
    ssize_t err = RETRY(r->path ? stat(r->path, &st) : fstat(r->fd, &st));
    if (err == 0)
        describe(r->info, &st);
    return err;
}

int weft_file_stat(weft_file *file, weft_file_info *info)
{
    if (!file || !info)
        return WEFT_EINVAL;
    request r = {.fd = file->fd, .info = info};
    return (int)elsewhere(do_stat, &r);
}

static ssize_t do_truncate(void *arg)
{
    request *r = arg;
    return RETRY(ftruncate(r->fd, r->offset));
}

int weft_file_truncate(weft_file *file, int64_t size)
{
    if (!file)
        return WEFT_EINVAL;
    request r = {.fd = file->fd, .offset = size};
    return (int)elsewhere(do_truncate, &r);
}

static ssize_t do_sync(void *arg)
{
    request *r = arg;
    return RETRY(r->flags ? fdatasync(r->fd) : fsync(r->fd));
}

int weft_file_sync(weft_file *file, int data_only)
{
    if (!file)
        return WEFT_EINVAL;
    request r = {.fd = file->fd, .flags = data_only};
    return (int)elsewhere(do_sync, &r);
}

/* ---- whole files --------------------------------------------------------------------------------------------- */

/* One byte more than there is to read tells the end of a file that says its size; others grow. */
static bool make_room(request *r, size_t *room)
{
    size_t more = *room < 4096 ? 4096 : *room * 2;
    if (r->size + 1 < *room)
        return true;
    char *bigger = more > *room ? realloc(r->buf, more) : NULL;
    if (!bigger)
        return false;
    r->buf = bigger;
    *room = more;
    return true;
}

static ssize_t read_whole(request *r, int fd)
{
    struct stat st;
    size_t room = 0;
    if (fstat(fd, &st) == 0 && st.st_size > 0 && (uint64_t)st.st_size < SSIZE_MAX - 2 &&
        (r->buf = malloc((size_t)st.st_size + 2)))
        room = (size_t)st.st_size + 2;
    for (;;) {
        if (!make_room(r, &room))
            return WEFT_ENOMEM;
        ssize_t n = RETRY(read(fd, (char *)r->buf + r->size, room - r->size - 1));
        if (n <= 0)
            return n;
        r->size += (size_t)n;
    }
}

static ssize_t do_load(void *arg)
{
    request *r = arg;
    r->flags = O_RDONLY;
    int fd = (int)do_open(r);
    if (fd < 0)
        return fd;
    ssize_t err = read_whole(r, fd);
    close_fd(fd);
    if (err < 0)
        free(r->buf);
    else
        ((char *)r->buf)[r->size] = 0;
    return err;
}

int weft_file_load(const char *path, void **data, size_t *size)
{
    if (data)
        *data = NULL;
    if (size)
        *size = 0;
    if (!path || !data || !size)
        return WEFT_EINVAL;
    request r = {.path = path};
    ssize_t err = elsewhere(do_load, &r);
    if (err < 0)
        return named("load", path, err);
    *data = r.buf;
    *size = r.size;
    return 0;
}

/* A new file in the directory of @path. Not by mkostemp(), which would not leave the mode to the umask. */
static int create_beside(const char *path, unsigned mode, char *name)
{
    const char *slash = strrchr(path, '/');
    int directory = slash ? (int)(slash - path) + 1 : 0;
    for (int tries = 0; tries < 100; tries++) {
        int length = snprintf(name, PATH_MAX, "%.*s.weft-%016llx", directory, path, (unsigned long long)wf_random());
        if (length >= PATH_MAX)
            return -ENAMETOOLONG;
        ssize_t fd = RETRY(open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
        if (fd != -EEXIST)
            return (int)fd;
    }
    return -EEXIST;
}

static ssize_t fill(int fd, const request *r)
{
    ssize_t err = write_all(fd, r->data, r->size);
    if (err >= 0)
        err = RETRY(fsync(fd));
    ssize_t closed = close_fd(fd);
    return err < 0 ? err : closed;
}

static ssize_t do_store(void *arg)
{
    request *r = arg;
    char name[PATH_MAX];
    int fd = create_beside(r->path, r->mode, name);
    if (fd < 0)
        return fd;
    ssize_t err = fill(fd, r);
    if (err == 0)
        err = or_code(rename(name, r->path));
    if (err < 0)
        unlink(name);
    return err;
}

int weft_file_store(const char *path, const void *data, size_t size, unsigned mode)
{
    if (!path || (!data && size > 0) || size > SSIZE_MAX)
        return WEFT_EINVAL;
    request r = {.path = path, .data = data, .size = size, .mode = mode};
    return named("store", path, elsewhere(do_store, &r));
}

/* ---- names --------------------------------------------------------------------------------------------------- */

int weft_stat(const char *path, weft_file_info *info)
{
    if (!path || !info)
        return WEFT_EINVAL;
    request r = {.path = path, .info = info};
    return named("stat", path, elsewhere(do_stat, &r));
}

static ssize_t do_rename(void *arg)
{
    request *r = arg;
    return or_code(rename(r->path, r->to));
}

static ssize_t do_unlink(void *arg) { return or_code(unlink(((request *)arg)->path)); }
static ssize_t do_mkdir(void *arg) { return or_code(mkdir(((request *)arg)->path, ((request *)arg)->mode)); }
static ssize_t do_rmdir(void *arg) { return or_code(rmdir(((request *)arg)->path)); }

static int with_path(const char *what, ssize_t (*call)(void *arg), request r)
{
    return r.path ? named(what, r.path, elsewhere(call, &r)) : WEFT_EINVAL;
}

int weft_rename(const char *from, const char *to)
{
    return to ? with_path("rename", do_rename, (request){.path = from, .to = to}) : WEFT_EINVAL;
}

int weft_unlink(const char *path) { return with_path("unlink", do_unlink, (request){.path = path}); }

int weft_mkdir(const char *path, unsigned mode)
{
    return with_path("mkdir", do_mkdir, (request){.path = path, .mode = mode});
}

int weft_rmdir(const char *path) { return with_path("rmdir", do_rmdir, (request){.path = path}); }

/* ---- directories --------------------------------------------------------------------------------------------- */

static bool is_dots(const char *name) { return !strcmp(name, ".") || !strcmp(name, ".."); }

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static int add_name(request *r, const char *name)
{
    size_t n = r->size;
    if (n == INT_MAX)
        return -EOVERFLOW;
    if ((n & (n - 1)) == 0) { /* full: twice as many */
        char **more = realloc(r->names, (n ? 2 * n : 1) * sizeof *more);
        if (!more)
            return WEFT_ENOMEM;
        r->names = more;
    }
    if (!(r->names[n] = strdup(name)))
        return WEFT_ENOMEM;
    r->size++;
    return 0;
}

/* Returns 1 for a name, 0 at the end. */
static int next_name(DIR *dir, const char **name)
{
    struct dirent *entry;
    do {
        errno = 0;
        entry = readdir(dir);
    } while (!entry && errno == EINTR);
    if (!entry)
        return -errno;
    *name = entry->d_name;
    return 1;
}

static ssize_t do_directory(void *arg)
{
    request *r = arg;
    const char *name = NULL;
    DIR *dir;
    int err;
    do
        dir = opendir(r->path);
    while (!dir && errno == EINTR);
    if (!dir)
        return -errno;
    while ((err = next_name(dir, &name)) > 0)
        if (!is_dots(name) && (err = add_name(r, name)) < 0)
            break;
    closedir(dir);
    if (err < 0) {
        weft_names_free(r->names, (int)r->size);
        return err;
    }
    if (r->size > 0)
        qsort(r->names, r->size, sizeof *r->names, by_name);
    return (ssize_t)r->size;
}

int weft_directory(const char *path, char ***names)
{
    if (names)
        *names = NULL;
    if (!path || !names)
        return WEFT_EINVAL;
    request r = {.path = path};
    int n = (int)elsewhere(do_directory, &r);
    if (n >= 0)
        *names = r.names;
    return named("list", path, n);
}

void weft_names_free(char **names, int n)
{
    for (int i = 0; names && i < n; i++)
        free(names[i]);
    free(names);
}
