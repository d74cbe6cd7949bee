/* text.c - the bytes of an answer: they grow as they are written, up to a limit, and several connections may have them. */
#include <console/console.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

wf_console_text *wf_console_text_create(weft_token *stop)
{
    wf_console_text *t = calloc(1, sizeof *t);
    if (t) {
        t->refs = 1;
        t->stop = stop;
    }
    return t;
}

wf_console_text *wf_console_text_ref(wf_console_text *t)
{
    t->refs++;
    return t;
}

void wf_console_text_unref(wf_console_text *t)
{
    if (!t || --t->refs > 0)
        return;
    free(t->bytes);
    free(t);
}

static bool grow(wf_console_text *t, size_t least)
{
    size_t room = t->room ? t->room : 4096;
    while (room < least)
        room *= 2;
    char *bytes = room == t->room ? t->bytes : realloc(t->bytes, room);
    if (!bytes) {
        t->lacking = true;
        return false;
    }
    t->bytes = bytes;
    t->room = room;
    return true;
}

bool wf_console_text_add(wf_console_text *t, const void *bytes, size_t size)
{
    if (t->cut || size > WF_CONSOLE_TEXT - t->size) {
        t->cut = true;
        return true;
    }
    if (t->lacking || (size > 0 && !grow(t, t->size + size)))
        return false;
    if (size > 0)
        memcpy(t->bytes + t->size, bytes, size);
    t->size += size;
    return true;
}

/* ---- as a file ---------------------------------------------------------------------------------------------------- */

static ssize_t add_to(void *cookie, const char *bytes, size_t size)
{
    wf_console_text *t = cookie;
    bool stopped = weft_token_is_cancelled(t->stop);
    if (!stopped && wf_console_text_add(t, bytes, size))
        return (ssize_t)size;
    errno = stopped ? ECANCELED : ENOMEM;
    return 0;
}

FILE *wf_console_text_file(wf_console_text *t) { return fopencookie(t, "w", (cookie_io_functions_t){.write = add_to}); }

/* There is always room for that. */
static void say_that_it_was_cut(wf_console_text *t)
{
    static const char note[] = "\n(more was left out)\n";
    t->cut = false;
    if (t->size > WF_CONSOLE_TEXT - sizeof note)
        t->size = WF_CONSOLE_TEXT - sizeof note;
    wf_console_text_add(t, note, sizeof note - 1);
}

int wf_console_text_close(wf_console_text *t, FILE *file, int err)
{
    bool failed = fclose(file) != 0;
    if (t->cut)
        say_that_it_was_cut(t);
    if (weft_token_is_cancelled(t->stop))
        return WEFT_ECANCELED;
    if (t->lacking)
        return WEFT_ENOMEM;
    return err < 0 ? err : failed ? WEFT_ENOMEM : 0;
}
