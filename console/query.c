/* query.c - what the part of a target after the path asks for. Whatever is not understood is refused: a page must not show something else than it says. */
#include <console/console.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* "%2F" and "+" as what they stand for. */
static int decode(char out[WF_CONSOLE_WORD], const char *at, size_t length)
{
    size_t n = 0;
    for (size_t i = 0; i < length; i++) {
        int c = (unsigned char)at[i];
        if (c == '%') {
            int high = i + 2 < length ? digit(at[i + 1]) : -1, low = high < 0 ? -1 : digit(at[i + 2]);
            if (low < 0)
                return WEFT_EINVAL;
            c = high * 16 + low;
            i += 2;
        }
        if (n + 1 >= WF_CONSOLE_WORD || c == 0)
            return WEFT_EINVAL;
        out[n++] = (char)(c == '+' && at[i] == '+' ? ' ' : c);
    }
    out[n] = '\0';
    return 0;
}

static int read_number(uint64_t *out, const char *text)
{
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 ? 0 : WEFT_EINVAL;
}

static int read_size(size_t *out, const char *text, size_t most)
{
    uint64_t n;
    if (read_number(&n, text) < 0 || n > most)
        return WEFT_EINVAL;
    *out = (size_t)n;
    return 0;
}

static int read_sort(wf_console_sort *out, const char *text)
{
    static const char *const names[] = {"suspicion", "age", "since", "id", "name", "state", "wait"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], text) == 0) {
            *out = (wf_console_sort)i;
            return 0;
        }
    return WEFT_EINVAL;
}

/* The texts to look for. @value is kept in @q. */
static int set_word(wf_console_query *q, const char *key, const char *value)
{
    static const char *const names[] = {"state", "name", "wait", "pattern", "kind"};
    const char **places[] = {&q->state, &q->name, &q->wait, &q->pattern, &q->kind};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], key) == 0) {
            memcpy(q->words[i], value, strlen(value) + 1);
            *places[i] = q->words[i];
            return 0;
        }
    return WEFT_EINVAL;
}

static int set(wf_console_query *q, const char *key, const char *value, unsigned most_tasks)
{
    if (strcmp(key, "limit") == 0)
        return read_size(&q->limit, value, most_tasks);
    if (strcmp(key, "offset") == 0)
        return read_size(&q->offset, value, (size_t)most_tasks * WF_CONSOLE_PAGES);
    if (strcmp(key, "id") == 0)
        return read_number(&q->id, value);
    if (strcmp(key, "sort") == 0)
        return read_sort(&q->sort, value);
    return set_word(q, key, value);
}

static int read_pair(wf_console_query *q, const char *at, size_t length, unsigned most_tasks)
{
    char key[WF_CONSOLE_WORD], value[WF_CONSOLE_WORD];
    const char *equals = memchr(at, '=', length);
    size_t head = equals ? (size_t)(equals - at) : length;
    if (length == 0)
        return 0;
    if (!equals || decode(key, at, head) < 0 || decode(value, equals + 1, length - head - 1) < 0)
        return WEFT_EINVAL;
    return set(q, key, value, most_tasks);
}

int wf_console_query_read(wf_console_query *q, const char *target, unsigned most_tasks)
{
    struct http_parser_url parts;
    memset(q, 0, sizeof *q);
    q->limit = most_tasks < 100 ? most_tasks : 100;
    http_parser_url_init(&parts);
    if (http_parser_parse_url(target, strlen(target), 0, &parts) != 0 || !(parts.field_set & 1u << UF_PATH))
        return WEFT_EINVAL;
    memcpy(q->path, target + parts.field_data[UF_PATH].off, parts.field_data[UF_PATH].len);
    if (!(parts.field_set & 1u << UF_QUERY))
        return 0;
    const char *at = target + parts.field_data[UF_QUERY].off, *end = at + parts.field_data[UF_QUERY].len;
    for (size_t length; at < end; at += length + 1) {
        const char *next = memchr(at, '&', (size_t)(end - at));
        length = (size_t)((next ? next : end) - at);
        if (read_pair(q, at, length, most_tasks) < 0)
            return WEFT_EINVAL;
    }
    return 0;
}
