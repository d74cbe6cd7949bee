/* request.c - the head of a request, as http-parser finds it: what it asks for, and of whom. Bodies are refused. */
#include <console/console.h>
#include <string.h>
#include <strings.h>

/* Appends to a terminated text of @room bytes. False if it is full. */
static bool append(char *text, size_t room, size_t *size, const char *at, size_t length)
{
    if (*size + length >= room)
        return false;
    memcpy(text + *size, at, length);
    *size += length;
    return true;
}

static int on_url(http_parser *p, const char *at, size_t length)
{
    wf_console_request *r = p->data;
    return append(r->target, sizeof r->target, &r->target_size, at, length) ? 0 : (r->wrong = 414);
}

/* Names and values come in pieces. Of a name that is too long to be "Host" only that is kept. */
static int on_field(http_parser *p, const char *at, size_t length)
{
    wf_console_request *r = p->data;
    if (r->in_value) {
        memset(r->field, 0, sizeof r->field);
        r->field_size = 0;
        r->in_value = false;
    }
    if (!append(r->field, sizeof r->field, &r->field_size, at, length))
        r->field_size = sizeof r->field - 1;
    return 0;
}

static int on_value(http_parser *p, const char *at, size_t length)
{
    wf_console_request *r = p->data;
    if (!r->in_value) {
        r->in_value = true;
        r->is_host = r->field_size == 4 && strcasecmp(r->field, "host") == 0;
        r->hosts += r->is_host;
    }
    if (r->is_host && !append(r->host, sizeof r->host, &r->host_size, at, length))
        return r->wrong = 400;
    return 0;
}

static int on_headers_complete(http_parser *p)
{
    wf_console_request *r = p->data;
    if (p->method != HTTP_GET && p->method != HTTP_HEAD)
        r->wrong = 405;
    else if (r->hosts != 1)
        r->wrong = 400;
    else if (!wf_console_host_is_known(r->host))
        r->wrong = 403;
    return r->wrong;
}

static int on_body(http_parser *p, const char *at, size_t length)
{
    (void)at, (void)length;
    return ((wf_console_request *)p->data)->wrong = 413;
}

/* What follows is the next request's. */
static int on_complete(http_parser *p)
{
    ((wf_console_request *)p->data)->complete = true;
    http_parser_pause(p, 1);
    return 0;
}

static const http_parser_settings settings = {.on_url = on_url,
                                              .on_header_field = on_field,
                                              .on_header_value = on_value,
                                              .on_headers_complete = on_headers_complete,
                                              .on_body = on_body,
                                              .on_message_complete = on_complete};

static void parse(wf_console_request *r, weft_reader *in, const char *data, size_t size)
{
    size_t most = WF_CONSOLE_HEAD - r->head;
    size_t taken = http_parser_execute(&r->parser, &settings, data, size < most ? size : most);
    enum http_errno err = HTTP_PARSER_ERRNO(&r->parser);
    r->head += taken;
    weft_reader_consume(in, taken);
    if (r->complete || r->wrong)
        return;
    if (err != HPE_OK)
        r->wrong = err == HPE_HEADER_OVERFLOW ? 431 : 400;
    else if (r->head == WF_CONSOLE_HEAD)
        r->wrong = 431;
}

int wf_console_request_read(wf_console_request *r, weft_reader *in)
{
    char *data;
    size_t size;
    int got = 1;
    memset(r, 0, sizeof *r);
    http_parser_init(&r->parser, HTTP_REQUEST);
    r->parser.data = r;
    while (!r->complete && !r->wrong && (got = weft_reader_peek(in, 1, &data, &size)) == 1)
        parse(r, in, data, size);
    return got;
}
