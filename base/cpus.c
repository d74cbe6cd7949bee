/* cpus.c - see cpus.h.
 *
 * A quota holds for everything below the cgroup that has it, so each one's parents are asked too, up to the mount. In a
 * container the path that /proc names may not exist below the mount; then only the levels that do exist count, the
 * mount itself last. What cannot be read is no limit: nothing here fails. */
#include <base/cpus.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Reads the limit of the cgroup at @dir, which has room for @size bytes and may be written behind its end. */
typedef unsigned (*limit_reader)(char *dir, size_t size);

static unsigned tighter(unsigned a, unsigned b)
{
    if (a == 0 || b == 0)
        return a + b;
    return WF_MIN(a, b);
}

unsigned wf_cpus_of_quota(int64_t quota, int64_t period)
{
    if (quota <= 0 || period <= 0)
        return 0;
    int64_t cpus = quota / period + (quota % period != 0);
    return cpus > UINT_MAX ? UINT_MAX : (unsigned)cpus;
}

unsigned wf_cpus_of_cpu_max(const char *text)
{
    char *end; /* "max" reads as 0, which is no limit; so does a period that is missing */
    int64_t quota = strtoll(text, &end, 10);
    return wf_cpus_of_quota(quota, strtoll(end, NULL, 10));
}

/* Whether @name is one of the @length bytes of comma-separated @names. */
static bool is_listed(const char *names, size_t length, const char *name)
{
    size_t wanted = strlen(name);
    for (const char *end = names + length; names < end;) {
        size_t n = strcspn(names, ",:");
        if (n == wanted && memcmp(names, name, n) == 0)
            return true;
        names += n + 1;
    }
    return false;
}

static bool leaves_namespace(const char *path, size_t length)
{
    for (size_t i = 0; i + 3 <= length; i++)
        if (memcmp(path + i, "/..", 3) == 0 && (i + 3 == length || path[i + 3] == '/'))
            return true;
    return false;
}

size_t wf_cpus_cgroup_path(const char *line, const char *controller, const char **path)
{
    const char *names = strchr(line, ':');
    const char *names_end = names ? strchr(++names, ':') : NULL;
    if (!names_end || names_end[1] != '/')
        return 0;
    size_t names_length = (size_t)(names_end - names);
    if (controller ? !is_listed(names, names_length, controller) : strncmp(line, "0::", 3) != 0)
        return 0;
    *path = names_end + 1;
    size_t length = strcspn(*path, "\n");
    return leaves_namespace(*path, length) ? 1 : length;
}

/* The first line of @dir/@name as a C string; "" when there is none. */
static void read_line(char *dir, size_t size, const char *name, char *text, int text_size)
{
    size_t length = strlen(dir);
    text[0] = '\0';
    if ((size_t)snprintf(dir + length, size - length, "/%s", name) < size - length) {
        FILE *f = fopen(dir, "re");
        if (f && !fgets(text, text_size, f))
            text[0] = '\0';
        if (f)
            fclose(f);
    }
    dir[length] = '\0';
}

static unsigned limit_v2(char *dir, size_t size)
{
    char text[64];
    read_line(dir, size, "cpu.max", text, sizeof text);
    return wf_cpus_of_cpu_max(text);
}

static unsigned limit_v1(char *dir, size_t size)
{
    char quota[32], period[32];
    read_line(dir, size, "cpu.cfs_quota_us", quota, sizeof quota);
    read_line(dir, size, "cpu.cfs_period_us", period, sizeof period);
    return wf_cpus_of_quota(strtoll(quota, NULL, 10), strtoll(period, NULL, 10));
}

/* The smallest limit from @path below @root/@mount up to the mount. */
static unsigned limit_upwards(const char *root, const char *mount, const char *path, size_t length, limit_reader reader)
{
    char dir[PATH_MAX];
    int base = snprintf(dir, sizeof dir, "%s/sys/fs/cgroup%s", root, mount);
    if (base < 0 || (size_t)base + length >= sizeof dir)
        return 0;
    memcpy(dir + base, path, length);
    dir[(size_t)base + length] = '\0';
    unsigned limit = 0;
    for (;;) {
        limit = tighter(limit, reader(dir, sizeof dir));
        char *slash = strrchr(dir + base, '/');
        if (!slash)
            return limit;
        *slash = '\0';
    }
}

static unsigned limit_of_line(const char *root, const char *line)
{
    unsigned limit = 0;
    const char *path;
    size_t length = wf_cpus_cgroup_path(line, NULL, &path);
    if (length) {
        limit = limit_upwards(root, "", path, length, limit_v2);
        limit = tighter(limit, limit_upwards(root, "/unified", path, length, limit_v2));
    }
    length = wf_cpus_cgroup_path(line, "cpu", &path);
    if (length) {
        limit = tighter(limit, limit_upwards(root, "/cpu", path, length, limit_v1));
        limit = tighter(limit, limit_upwards(root, "/cpu,cpuacct", path, length, limit_v1));
    }
    return limit;
}

unsigned wf_cpus_of_cgroups(const char *root)
{
    char name[PATH_MAX];
    if ((size_t)snprintf(name, sizeof name, "%s/proc/self/cgroup", root) >= sizeof name)
        return 0;
    FILE *f = fopen(name, "re");
    if (!f)
        return 0;
    unsigned limit = 0;
    char *line = NULL;
    for (size_t size = 0; getline(&line, &size, f) >= 0;)
        limit = tighter(limit, limit_of_line(root, line));
    free(line);
    fclose(f);
    return limit;
}

/* Masks may be larger than cpu_set_t. */
unsigned wf_cpus_of_affinity(void)
{
    for (size_t cpus = CPU_SETSIZE; cpus <= 1u << 16; cpus *= 2) {
        cpu_set_t *set = CPU_ALLOC(cpus);
        if (!set)
            return 0;
        size_t size = CPU_ALLOC_SIZE(cpus);
        int rc = sched_getaffinity(0, size, set);
        unsigned count = rc == 0 ? (unsigned)CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        if (rc == 0)
            return count;
    }
    return 0;
}

int wf_cpu_here(void) { return sched_getcpu(); }

unsigned wf_cpus_allowed(void)
{
    unsigned cpus = wf_cpus_of_affinity();
    if (cpus == 0) {
        long online = sysconf(_SC_NPROCESSORS_ONLN);
        cpus = online > 0 ? (unsigned)online : 1;
    }
    return tighter(cpus, wf_cpus_of_cgroups(""));
}
