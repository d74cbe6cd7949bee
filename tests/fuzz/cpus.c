/* cpus.c - the system's texts about CPU quotas: nothing in them is trusted.
 *
 *   first byte: 0 mod 3: two numbers    1: the text of cpu.max    2: a line of /proc/self/cgroup */
#include "fuzz.h"
#include <base/cpus.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

static unsigned should_allow(int64_t quota, int64_t period)
{
    if (quota <= 0 || period <= 0)
        return 0;
    __int128 cpus = ((__int128)quota + period - 1) / period;
    return cpus > UINT_MAX ? UINT_MAX : (unsigned)cpus;
}

static void fuzz_numbers(fuzz_input *in)
{
    int64_t quota = (int64_t)fuzz_number(in, 8), period = (int64_t)fuzz_number(in, 8);
    char text[64];
    FUZZ_EXPECT(wf_cpus_of_quota(quota, period) == should_allow(quota, period));
    snprintf(text, sizeof text, "%lld %lld\n", (long long)quota, (long long)period);
    FUZZ_EXPECT(wf_cpus_of_cpu_max(text) == should_allow(quota, period));
    snprintf(text, sizeof text, "max %lld\n", (long long)period);
    FUZZ_EXPECT(wf_cpus_of_cpu_max(text) == 0);
}

static void fuzz_cpu_max(fuzz_input *in)
{
    char *text = fuzz_take_text(in);
    long long quota = 0, period = 0;
    if (strspn(text, " 0123456789") == strlen(text) && strlen(text) < 18) {
        sscanf(text, "%lld %lld", &quota, &period);
        FUZZ_EXPECT(wf_cpus_of_cpu_max(text) == should_allow(quota, period), "%s", text);
    } else {
        wf_cpus_of_cpu_max(text);
    }
    free(text);
}

/* Whether one of the names between commas is @name. */
static bool names_have(char *names, const char *name)
{
    char *rest = names;
    for (char *one; (one = strsep(&rest, ","));)
        if (strcmp(one, name) == 0)
            return true;
    return false;
}

static bool has_parent(const char *path)
{
    for (const char *at = strstr(path, "/.."); at; at = strstr(at + 1, "/.."))
        if (at[3] == '/' || at[3] == '\0')
            return true;
    return false;
}

/* The path, which @line holds, cut to what counts; NULL: none. */
static char *should_find(char *line, const char *controller)
{
    char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
    if (!path || path[1] != '/' || (!controller && strncmp(line, "0::", 3) != 0))
        return NULL;
    *path++ = '\0';
    path[strcspn(path, "\n")] = '\0';
    if (controller && !names_have(names + 1, controller))
        return NULL;
    if (has_parent(path))
        path[1] = '\0';
    return path;
}

static void fuzz_cgroup(fuzz_input *in)
{
    const char *controller = fuzz_byte(in) % 2 ? "cpu" : NULL, *found = NULL;
    char *line = fuzz_take_text(in);
    size_t length = wf_cpus_cgroup_path(line, controller, &found);
    FUZZ_EXPECT(length == 0 || (found > line && found + length <= line + strlen(line)));
    char *copy = strdup(line), *should = should_find(copy, controller);
    FUZZ_EXPECT(length == (should ? strlen(should) : 0), "%zu", length);
    FUZZ_EXPECT(!should || memcmp(found, should, length) == 0);
    free(copy);
    free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = fuzz_open(data, size);
    unsigned what = fuzz_below(&in, 3);
    (what == 0 ? fuzz_numbers : what == 1 ? fuzz_cpu_max : fuzz_cgroup)(&in);
    return 0;
}
