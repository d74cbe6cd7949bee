/* scarce_names_test.c - no function of the promise is forgotten: each stands in a call that a scene refuses something to or watches, or here with the
 * reason why not. It reads the headers and the scenes. */
#include <ctype.h>
#include <dirent.h>
#include <support/test.h>

/* What has no scene, and why. */
static const char *const exempt[][2] = {
    {"weft_panic", "does not return; what its message needs is refused in the scene `ends`"},
    {"weft_watchdog_ignore_thread", "needs what every thread needs that waits for the first time, and nothing else"},
};

/* ---- texts -------------------------------------------------------------------------------------------------------- */

enum { MOST = 512, NAME = 64 };

typedef struct names {
    char list[MOST][NAME];
    size_t n;
} names;

static names promised, used;

static bool has(const names *all, const char *name)
{
    for (size_t i = 0; i < all->n; i++)
        if (strcmp(all->list[i], name) == 0)
            return true;
    return false;
}

static void add(names *all, const char *name, size_t length)
{
    char text[NAME];
    cr_assert_lt(length, NAME);
    snprintf(text, sizeof text, "%.*s", (int)length, name);
    cr_assert_lt(all->n, MOST);
    if (!has(all, text))
        memcpy(all->list[all->n++], text, NAME);
}

static bool in_name(char c) { return isalnum((unsigned char)c) || c == '_'; }

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

/* "WEFT_API int weft_name(": a variable has no parenthesis before its semicolon. */
static void read_header(const char *text)
{
    for (const char *at = text; (at = strstr(at, "WEFT_API ")); at++) {
        const char *stop = at + strcspn(at, ";(");
        size_t length = 0;
        while (in_name(stop[-1 - (long)length]))
            length++;
        if (*stop == '(' && strncmp(stop - length, "weft_", 5) == 0)
            add(&promised, stop - length, length);
    }
}

/* ---- the scenes ------------------------------------------------------------------------------------------------------ */

static void read_call(const char *at)
{
    int depth = 0;
    do {
        depth += *at == '(' ? 1 : *at == ')' ? -1 : 0;
        size_t length = 0;
        while (in_name(at[length]))
            length++;
        if (length > 0 && at[length] == '(')
            add(&used, at, length);
        at += length > 0 ? length : 1;
    } while (depth > 0 && *at);
}

static void read_scenes(const char *text)
{
    for (const char *at = text; (at = strstr(at, "SCARCE_")); at++)
        read_call(at + strcspn(at, "("));
}

/* Inline functions, and the functions behind them: weft_spawn_with() and weft_spawn_sized(). */
static bool is_used(const char *name)
{
    static const char *const tails[] = {"", "_with"};
    size_t length = strlen(name), sized = strlen("_sized");
    char other[2 * NAME];
    if (has(&used, name))
        return true;
    if (length < sized || strcmp(name + length - sized, "_sized") != 0)
        return false;
    for (size_t i = 0; i < 2; i++) {
        snprintf(other, sizeof other, "%.*s%s", (int)(length - sized), name, tails[i]);
        if (has(&used, other))
            return true;
    }
    return false;
}

static bool is_exempt(const char *name)
{
    for (size_t i = 0; i < sizeof exempt / sizeof exempt[0]; i++)
        if (strcmp(exempt[i][0], name) == 0)
            return true;
    return false;
}

Test(scarce_names, every_public_function_is_refused_something_or_named)
{
    each_file(WEFT_TEST_HEADERS, "", ".h", read_header);
    each_file(WEFT_TEST_SCENES, "scarce_", "_test.c", read_scenes);
    int wrong = 0;
    cr_assert_gt(promised.n, 250);
    for (size_t i = 0; i < promised.n; i++) {
        const char *name = promised.list[i];
        if (is_used(name) != is_exempt(name))
            continue;
        fprintf(stderr, "%s %s\n", name, is_used(name) ? "is excused, and has a scene" : "has no scene");
        wrong++;
    }
    cr_assert_eq(wrong, 0);
}
