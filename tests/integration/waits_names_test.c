/* waits_names_test.c - no call that awaits is forgotten: each function whose docstring says so, and each poll twin, stands in a scene of waits_*_test.c, or
 * here with the reason why not. It reads the headers and the scenes. */
#include <ctype.h>
#include <dirent.h>
#include <support/test.h>

/* What has no scene, and why. */
static const char *const exempt[][2] = {
    {"weft_yield", "who yields is queued, and waits for nothing"},
    {"weft_process_spawn", "nobody can make starting one take longer"},
    {"weft_process_close", "what it waits for has been killed"},
    {"weft_signal_open", "nobody can make the thread that watches take longer"},
    {"weft_console_start_with", "it waits for a listener to be made by a thread of its own"},
    {"weft_tls_accept", "waits in weft_stream_attempt()"},
};

/* ---- texts -------------------------------------------------------------------------------------------------------- */

enum { MOST = 256, NAME = 64 };

typedef struct names {
    char list[MOST][NAME];
    size_t n;
} names;

static names awaiting, scenes;

static bool has(const names *all, const char *name)
{
    for (size_t i = 0; i < all->n; i++)
        if (strcmp(all->list[i], name) == 0)
            return true;
    return false;
}

static void add(names *all, const char *name, size_t length)
{
    char text[NAME] = "";
    cr_assert_lt(length, NAME);
    memcpy(text, name, length);
    cr_assert_lt(all->n, MOST);
    if (!has(all, text))
        memcpy(all->list[all->n++], text, NAME);
}

static size_t name_length(const char *at)
{
    size_t length = 0;
    while (isalnum((unsigned char)at[length]) || at[length] == '_')
        length++;
    return length;
}

static char *load(const char *folder, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "re");
    cr_assert_not_null(f, "%s", path);
    char *text = calloc(1, 1 << 20);
    cr_assert_lt(fread(text, 1, (1 << 20) - 1, f), (1 << 20) - 1);
    fclose(f);
    return text;
}

/* @fn sees the text of each file there whose name begins and ends so. */
static void each_file(const char *folder, const char *begin, const char *end, void (*fn)(const char *text))
{
    DIR *dir = opendir(folder);
    cr_assert_not_null(dir, "%s", folder);
    for (struct dirent *e; (e = readdir(dir));) {
        size_t length = strlen(e->d_name), tail = strlen(end);
        if (strncmp(e->d_name, begin, strlen(begin)) != 0 || length < tail || strcmp(e->d_name + length - tail, end) != 0)
            continue;
        char *text = load(folder, e->d_name);
        fn(text);
        free(text);
    }
    closedir(dir);
}

/* ---- the promise ---------------------------------------------------------------------------------------------------- */

/* The first function declared from there on. */
static void add_next_function(const char *at)
{
    for (; (at = strstr(at, "weft_")); at += name_length(at))
        if (at[name_length(at)] == '(' && strchr(" *", at[-1])) {
            add(&awaiting, at, name_length(at));
            return;
        }
}

/* "**awaits**", and "**await**" of what always completes. */
static void read_header(const char *text)
{
    for (const char *at = text; (at = strstr(at, "**await")); at++)
        add_next_function(strstr(at, "*/"));
    for (const char *at = text; (at = strstr(at, "weft_poll_")); at += name_length(at))
        if (at[name_length(at)] == '(' && strncmp(at + name_length(at), "(weft_context *", 15) == 0)
            add(&awaiting, at, name_length(at));
}

/* ---- the scenes ------------------------------------------------------------------------------------------------------ */

/* "CALL(name," and "POLLED_CALL(name,". */
static void read_scenes(const char *text)
{
    for (const char *at = text; (at = strstr(at, "CALL(")); at++) {
        at += strlen("CALL(");
        add(&scenes, at, name_length(at));
    }
}

static bool is_scene(const char *name)
{
    size_t length = strlen(name), sized = strlen("_sized");
    char other[NAME] = "";
    if (has(&scenes, name))
        return true;
    if (length < sized || strcmp(name + length - sized, "_sized") != 0)
        return false;
    memcpy(other, name, length - sized);
    return has(&scenes, other);
}

static bool is_exempt(const char *name)
{
    for (size_t i = 0; i < sizeof exempt / sizeof exempt[0]; i++)
        if (strcmp(exempt[i][0], name) == 0)
            return true;
    return false;
}

Test(waits_names, every_call_that_awaits_is_looked_at_or_named)
{
    each_file(WEFT_TEST_HEADERS, "", ".h", read_header);
    each_file(WEFT_TEST_SCENES, "waits_", "test.c", read_scenes);
    int wrong = 0;
    cr_assert_gt(awaiting.n, 60);
    for (size_t i = 0; i < awaiting.n; i++) {
        const char *name = awaiting.list[i];
        if (is_scene(name) != is_exempt(name))
            continue;
        fprintf(stderr, "%s %s\n", name, is_scene(name) ? "is excused, and has a scene" : "has no scene");
        wrong++;
    }
    for (size_t i = 0; i < sizeof exempt / sizeof exempt[0]; i++)
        cr_assert(has(&awaiting, exempt[i][0]), "%s is excused, and does not await", exempt[i][0]);
    cr_assert_eq(wrong, 0);
}
