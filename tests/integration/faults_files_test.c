/* faults_files_test.c - files when the disk and the kernel fail, at every call in turn. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <support/faults_sweep.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <weft/os.h>

typedef struct place {
    char folder[32], path[64], other[64];
} place;

static place begin(void)
{
    place p = {.folder = "/tmp/weft_faults_XXXXXX"};
    cr_assert_not_null(mkdtemp(p.folder));
    snprintf(p.path, sizeof p.path, "%s/file", p.folder);
    snprintf(p.other, sizeof p.other, "%s/other", p.folder);
    return p;
}

static void end(place *p)
{
    unlink(p->path);
    unlink(p->other);
    cr_assert_eq(rmdir(p->folder), 0); /* nothing else is left in it */
}

static void sweep(unsigned workers, const faults_sweep *s)
{
    faults_need();
    place p = begin();
    faults_sweep own = *s;
    own.arg = &p;
    faults_sweep_with(workers, &own);
    end(&p);
}

/* ---- a file that is open ---------------------------------------------------------------------------------------------- */

enum { BYTES = 5000 };

static unsigned char byte(size_t at) { return (unsigned char)(at * 7 + (at >> 8)); }

static void is_right(const unsigned char *bytes, ssize_t n, size_t from)
{
    for (ssize_t i = 0; i < n; i++)
        cr_assert_eq(bytes[i], byte(from + (size_t)i));
}

static ssize_t write_both(weft_file *f)
{
    unsigned char bytes[BYTES];
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = byte(i);
    ssize_t n = weft_file_write(f, bytes, 2000);
    if (n < 0)
        return n;
    cr_assert_eq(n, 2000);
    n = weft_file_pwrite(f, bytes + 2000, BYTES - 2000, 2000);
    cr_assert(n < 0 || n == BYTES - 2000);
    return n < 0 ? n : 0;
}

/* As much as there is at a time. */
static ssize_t read_both(weft_file *f)
{
    unsigned char bytes[1500];
    size_t got = 0;
    ssize_t n = 1;
    for (int turn = 0; n > 0; turn++) {
        n = turn % 2 ? weft_file_pread(f, bytes, sizeof bytes, (int64_t)got) : weft_file_read(f, bytes, sizeof bytes);
        if (n > 0 && turn % 2 && weft_file_seek(f, (int64_t)got + n, SEEK_SET) < 0)
            return WEFT_ENOTSUP;
        is_right(bytes, n, got);
        got += n > 0 ? (size_t)n : 0;
    }
    cr_assert(n < 0 || got == BYTES);
    return n;
}

static ssize_t use(weft_file *f)
{
    weft_file_info info;
    ssize_t err = write_both(f);
    if (err == 0)
        err = weft_file_sync(f, 0);
    if (err == 0)
        err = weft_file_sync(f, 1);
    int64_t at = err == 0 ? weft_file_seek(f, 0, SEEK_SET) : err;
    if (at == 0)
        at = read_both(f);
    if (at == 0)
        at = weft_file_truncate(f, 77);
    if (at == 0)
        at = weft_file_stat(f, &info);
    cr_assert(at < 0 || info.size == 77);
    return at;
}

static ssize_t open_and_use(void *arg)
{
    weft_file *f;
    const place *p = arg;
    int err = weft_file_open(&f, p->path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    cr_assert_eq(err == 0, f != NULL);
    if (err < 0)
        return err;
    ssize_t result = use(f);
    weft_file_close(f);
    return result;
}

static const fault in_using[] = {
    UNNOTICED(OPEN, FILE, 3, EINTR),
    TOLD(OPEN, FILE, EMFILE),
    TOLD(OPEN, FILE, ENFILE),
    TOLD(OPEN, FILE, ENOSPC),
    TOLD(OPEN, FILE, EACCES),
    UNNOTICED(READ, FILE, 3, EINTR),
    SHORT(READ, FILE, 3, 1),
    SHORT(READ, FILE, ALWAYS, 99),
    TOLD(READ, FILE, EIO),
    UNNOTICED(PREAD, FILE, 3, EINTR),
    SHORT(PREAD, FILE, 3, 1),
    TOLD(PREAD, FILE, EIO),
    UNNOTICED(WRITE, FILE, 3, EINTR),
    SHORT(WRITE, FILE, 3, 1),
    SHORT(WRITE, FILE, ALWAYS, 99),
    TOLD(WRITE, FILE, EIO),
    TOLD(WRITE, FILE, ENOSPC),
    TOLD(WRITE, FILE, EDQUOT),
    UNNOTICED(PWRITE, FILE, 3, EINTR),
    SHORT(PWRITE, FILE, 3, 1),
    SHORT(PWRITE, FILE, ALWAYS, 99),
    TOLD(PWRITE, FILE, EIO),
    TOLD(PWRITE, FILE, ENOSPC),
    UNNOTICED(FSYNC, FILE, 3, EINTR),
    TOLD(FSYNC, FILE, EIO),
    TOLD(FSYNC, FILE, ENOSPC),
    UNNOTICED(FDATASYNC, FILE, 3, EINTR),
    TOLD(FDATASYNC, FILE, EIO),
    UNNOTICED(FTRUNCATE, FILE, 3, EINTR),
    TOLD(FTRUNCATE, FILE, EIO),
    UNNOTICED(FSTAT, FILE, 1, EINTR),
    TOLD(FSTAT, FILE, EIO),
    UNNOTICED(CLOSE, FILE, 1, EINTR),
    UNNOTICED(CLOSE, FILE, 1, EIO),
};

Test(faults_files, what_is_read_and_written_is_whole_or_told_what_it_met)
{
    sweep(2, &FAULTS_SWEEP(in_using, open_and_use));
}

/* A write that takes nothing would go on for ever. */
static ssize_t write_nothing(void *arg) { return open_and_use(arg); }

static const fault in_writing_nothing[] = {
    {{.call = FAULTS_WRITE, .class = FAULTS_FILE, .times = 1, .at_most = 0}, FAULTS_TOLD, -EIO},
    {{.call = FAULTS_PWRITE, .class = FAULTS_FILE, .times = 1, .at_most = 0}, FAULTS_TOLD, -EIO},
};

Test(faults_files, a_disk_that_takes_nothing_is_an_error)
{
    sweep(2, &FAULTS_SWEEP(in_writing_nothing, write_nothing));
}

/* ---- whole files ---------------------------------------------------------------------------------------------------------- */

/* Either the old or the new one is there, and nobody sees a part. */
static void is_old_or_new(const place *p, bool is_new)
{
    FILE *f = fopen(p->path, "r");
    char text[64] = {0};
    cr_assert_not_null(f);
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    cr_assert_eq(n, 3);
    cr_assert_str_eq(text, is_new ? "new" : "old");
}

static void put_old(const place *p)
{
    FILE *f = fopen(p->path, "w");
    cr_assert_not_null(f);
    fputs("old", f);
    fclose(f);
}

static ssize_t load(const place *p)
{
    void *data;
    size_t size;
    int err = weft_file_load(p->path, &data, &size);
    if (err == 0) {
        cr_assert_eq(size, 3);
        cr_assert_str_eq(data, "new");
    } else {
        cr_assert_null(data);
    }
    free(data);
    return err;
}

static ssize_t store_and_load(void *arg)
{
    const place *p = arg;
    put_old(p);
    ssize_t err = weft_file_store(p->path, "new", 3, 0600);
    is_old_or_new(p, err == 0);
    return err < 0 ? err : load(p);
}

static const fault in_storing[] = {
    UNNOTICED(OPEN, FILE, 3, EINTR), SOMETIMES(OPEN, FILE, EEXIST),    TOLD(OPEN, FILE, EMFILE),
    TOLD(OPEN, FILE, EACCES),        UNNOTICED(WRITE, FILE, 3, EINTR), SHORT(WRITE, FILE, 3, 1),
    TOLD(WRITE, FILE, ENOSPC),       TOLD(WRITE, FILE, EIO),           UNNOTICED(FSYNC, FILE, 3, EINTR),
    TOLD(FSYNC, FILE, EIO),          TOLD(RENAME, FILE, ENOSPC),       TOLD(RENAME, FILE, EACCES),
    UNNOTICED(READ, FILE, 3, EINTR), SHORT(READ, FILE, 3, 1),          TOLD(READ, FILE, EIO),
    UNNOTICED(FSTAT, FILE, 1, EIO),  UNNOTICED(CLOSE, FILE, 1, EINTR), SOMETIMES(CLOSE, FILE, EIO),
    SOMETIMES(CLOSE, FILE, ENOSPC),
};

/* What broke: a close that was interrupted, when all was on the disk and the descriptor gone, was taken for a failure, and the new file was thrown away. */
Test(faults_files, a_store_is_all_or_nothing_and_a_load_is_whole)
{
    sweep(2, &FAULTS_SWEEP(in_storing, store_and_load));
}

/* ---- temporary ones -------------------------------------------------------------------------------------------------------- */

static ssize_t make_temporary(void *arg)
{
    const place *p = arg;
    char path[PATH_MAX];
    weft_file *named = NULL, *nameless = NULL;
    int err = weft_file_temporary(&named, p->folder, path);
    cr_assert(err == 0 || !named);
    if (err < 0)
        return err;
    cr_assert_eq(syscall(SYS_unlinkat, AT_FDCWD, path, 0), 0);
    err = weft_file_temporary(&nameless, p->folder, NULL);
    weft_file_close(named);
    weft_file_close(nameless);
    return err;
}

static const fault in_making[] = {
    UNNOTICED(MKOSTEMP, FILE, 3, EINTR), TOLD(MKOSTEMP, FILE, EMFILE), TOLD(MKOSTEMP, FILE, ENOSPC),
    UNNOTICED(OPEN, FILE, 3, EINTR),     TOLD(OPEN, FILE, EMFILE),     UNNOTICED(OPEN, FILE, 1, EOPNOTSUPP),
    UNNOTICED(OPEN, FILE, 1, EISDIR),
};

/* What broke: an mkostemp() that was interrupted was called again with what it had left in the name, which is WEFT_EINVAL. */
Test(faults_files, a_temporary_file_is_made_or_told_why_not) { sweep(2, &FAULTS_SWEEP(in_making, make_temporary)); }

/* ---- names --------------------------------------------------------------------------------------------------------------------- */

static ssize_t list(const place *p)
{
    char **names;
    int n = weft_directory(p->folder, &names);
    cr_assert(n < 0 || (n == 1 && strcmp(names[0], "other") == 0));
    cr_assert(n >= 0 || !names);
    weft_names_free(names, n);
    return n < 0 ? n : 0;
}

static ssize_t rename_and_list(const place *p)
{
    weft_file_info info;
    int err = weft_stat(p->path, &info);
    if (err == 0)
        err = weft_rename(p->path, p->other);
    return err < 0 ? err : list(p);
}

/* With a folder, so that there is something to make and to remove. */
static ssize_t change_names(void *arg)
{
    const place *p = arg;
    ssize_t err = weft_mkdir(p->path, 0700);
    if (err < 0)
        return err;
    err = rename_and_list(p);
    if (err < 0) {
        syscall(SYS_unlinkat, AT_FDCWD, p->path, AT_REMOVEDIR);
        syscall(SYS_unlinkat, AT_FDCWD, p->other, AT_REMOVEDIR);
        return err;
    }
    err = weft_rmdir(p->other);
    if (err < 0)
        syscall(SYS_unlinkat, AT_FDCWD, p->other, AT_REMOVEDIR);
    put_old(p);
    ssize_t unlinked = weft_unlink(p->path);
    syscall(SYS_unlinkat, AT_FDCWD, p->path, 0);
    return err < 0 ? err : unlinked;
}

static const fault in_naming[] = {
    TOLD(MKDIR, FILE, ENOSPC),
    TOLD(MKDIR, FILE, EACCES),
    TOLD(RMDIR, FILE, EBUSY),
    TOLD(RENAME, FILE, ENOSPC),
    TOLD(RENAME, FILE, EXDEV),
    TOLD(UNLINK, FILE, EACCES),
    TOLD(STAT, FILE, EIO),
    UNNOTICED(STAT, FILE, 3, EINTR),
    TOLD(OPENDIR, FILE, EMFILE),
    TOLD(OPENDIR, FILE, EACCES),
    TOLD(READDIR, FILE, EIO),
    UNNOTICED(OPENDIR, FILE, 3, EINTR),
    UNNOTICED(READDIR, FILE, 3, EINTR),
};

/* What broke: an interruption while a directory was opened or read was told. */
Test(faults_files, names_change_or_it_is_told_why_not) { sweep(2, &FAULTS_SWEEP(in_naming, change_names)); }

/* ---- chance ---------------------------------------------------------------------------------------------------------------------- */

static void *store_twice(void *arg)
{
    place *p = arg;
    cr_assert_eq(weft_file_store(p->path, "new", 3, 0600), 0);
    cr_assert_eq(weft_file_store(p->other, "new", 3, 0600), 0);
    return NULL;
}

/* The key is drawn once per process, before anything else here. */
static void without_chance(int error, size_t at_most)
{
    faults_need();
    place p = begin();
    faults_plan plan = {.call = FAULTS_GETRANDOM, .nth = 1, .times = 1, .error = error, .at_most = at_most};
    faults_begin(&plan);
    cr_assert_eq(weft_run(store_twice, &p, NULL), 0);
    cr_assert_eq(faults_end(), 1);
    is_old_or_new(&p, true);
    end(&p);
}

Test(faults_files, without_random_bytes_names_are_made_up_all_the_same) { without_chance(EAGAIN, 0); }
Test(faults_files, without_the_call_names_are_made_up_all_the_same) { without_chance(ENOSYS, 0); }
Test(faults_files, with_too_few_random_bytes_names_are_made_up_all_the_same) { without_chance(0, 3); }
