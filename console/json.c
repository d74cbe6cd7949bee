/* json.c - from texts of the program that is watched to JSON. jansson escapes; all that is left to do is to give it UTF-8. */
#include <console/console.h>
#include <string.h>

/* The bytes of the character at @s; 0 if there is none: too short, too long for its value, a surrogate, or beyond Unicode. */
static size_t character(const unsigned char *s)
{
    static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t size = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
    if (size <= 1)
        return size;
    unsigned value = s[0] & (0x7fu >> size);
    for (size_t i = 1; i < size; i++) {
        if (s[i] >> 6 != 2)
            return 0;
        value = value << 6 | (s[i] & 0x3f);
    }
    return value < least[size] || value > 0x10ffff || value >> 11 == 0xd800 >> 11 ? 0 : size;
}

void wf_console_mend(char *out, size_t size, const char *in)
{
    static const char replacement[] = "\xef\xbf\xbd";
    const unsigned char *s = (const unsigned char *)in;
    size_t n = 0;
    while (*s) {
        size_t length = character(s);
        const void *from = length ? (const void *)s : replacement;
        size_t add = length ? length : sizeof replacement - 1;
        if (n + add >= size)
            break;
        memcpy(out + n, from, add);
        n += add;
        s += length ? length : 1;
    }
    out[n] = '\0';
}

json_t *wf_console_running_json(const wf_console_running *r)
{
    json_t *all = json_array();
    char name[WF_CONSOLE_WORD];
    for (size_t i = 0; all && i < r->n; i++) {
        const weft_task_info *t = &r->list[i];
        wf_console_mend(name, sizeof name, t->name);
        json_t *one = json_pack("{s:I, s:s, s:s, s:i, s:I, s:s}", "id", (json_int_t)t->id, "name", name, "kind",
                                wf_console_kind_name(t->kind), "worker", t->worker, "since_ns", (json_int_t)t->since,
                                "suspicious", wf_console_suspicion_text(wf_console_suspect(t)));
        if (json_array_append_new(all, one) < 0) {
            json_decref(all);
            all = NULL;
        }
    }
    return all;
}

static int add_to(const char *bytes, size_t size, void *text)
{
    return wf_console_text_add(text, bytes, size) ? 0 : -1;
}

int wf_console_json_write(json_t *root, wf_console_text *out)
{
    int err = root ? json_dump_callback(root, add_to, out, JSON_COMPACT) : -1;
    json_decref(root);
    return err < 0 || out->cut ? WEFT_ENOMEM : 0;
}
