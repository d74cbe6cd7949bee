/* holders.c - see holders.h.
 *
 * A mutex notes its holder as the address of its body, which nobody may look into: it may be gone. But a strand's body lies at a place that its header tells. */
#include <base/clock.h>
#include <diag/holders.h>
#include <runtime/strand.h>
#include <stdio.h>
#include <sync/waiters.h>
#include <sys/uio.h>
#include <unistd.h>

static int find(const wf_holders *h, const weft_task_info *info)
{
    if (info->wait_ != WF_WAIT_MUTEX)
        return -1;
    for (unsigned i = 0; i < h->count; i++)
        if (h->of[i].mutex == info->object_)
            return (int)i;
    return -1;
}

/* The mutex may be gone by now: so the kernel copies it, for which there is no wrong address. 0: nobody has it, or it cannot be told. */
static uintptr_t owner_of(uint64_t mutex)
{
    weft_mutex copy;
    struct iovec to = {&copy, sizeof copy}, from = {(void *)(uintptr_t)mutex, sizeof copy};
    return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == (ssize_t)sizeof copy ? wf_mutex_owner(&copy) : 0;
}

void wf_holders_ask(wf_holders *h, const weft_task_info *info)
{
    if (info->wait_ != WF_WAIT_MUTEX || find(h, info) >= 0 || h->count == WF_HOLDERS_MOST)
        return;
    h->of[h->count].mutex = info->object_;
    h->of[h->count].owner = owner_of(info->object_);
    h->of[h->count].id = 0;
    h->count++;
}

static void compare(weft_task *task, void *arg)
{
    wf_holders *h = arg;
    const char *strand = wf_load_acq(&task->strand);
    const wf_body *body = strand ? (const void *)(strand + offsetof(wf_strand, body)) : NULL;
    weft_task_info info;
    for (unsigned i = 0; i < h->count; i++) {
        if (h->of[i].owner == 0 || !wf_mutex_owner_is(h->of[i].owner, task, body) || !wf_registry_read(task, wf_now(), &info))
            continue;
        h->of[i].id = info.id;
        snprintf(h->of[i].name, sizeof h->of[i].name, "%s", info.name);
    }
}

void wf_holders_find(wf_holders *h, weft_runtime *rt)
{
    if (h->count > 0)
        wf_registry_walk(rt, compare, h);
}

void wf_holders_text(const wf_holders *h, const weft_task_info *info, char *out, size_t size)
{
    int i = find(h, info);
    if (size > 0)
        out[0] = 0;
    if (i < 0 || h->of[i].owner == 0)
        return;
    if (h->of[i].id == 0)
        snprintf(out, size, ", held by a thread or in a coroutine");
    else
        snprintf(out, size, ", held by #%llu \"%s\"", (unsigned long long)h->of[i].id, h->of[i].name);
}
