/* cpus_test.c - quotas read from texts, and from a directory that looks like a system. */
#include <base/cpus.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <support/test.h>
#include <sys/stat.h>
#include <unistd.h>

Test(cpus, a_quota_is_rounded_up)
{
    cr_assert_eq(wf_cpus_of_quota(100000, 100000), 1u);
    cr_assert_eq(wf_cpus_of_quota(150000, 100000), 2u);
    cr_assert_eq(wf_cpus_of_quota(1, 100000), 1u);
    cr_assert_eq(wf_cpus_of_quota(200001, 100000), 3u);
    cr_assert_eq(wf_cpus_of_quota(INT64_MAX, 1), UINT_MAX);
}

Test(cpus, a_quota_that_makes_no_sense_is_no_limit)
{
    cr_assert_eq(wf_cpus_of_quota(-1, 100000), 0u);
    cr_assert_eq(wf_cpus_of_quota(0, 100000), 0u);
    cr_assert_eq(wf_cpus_of_quota(100000, 0), 0u);
    cr_assert_eq(wf_cpus_of_quota(100000, -5), 0u);
}

Test(cpus, cpu_max_is_read_as_the_kernel_writes_it)
{
    cr_assert_eq(wf_cpus_of_cpu_max("max 100000\n"), 0u);
    cr_assert_eq(wf_cpus_of_cpu_max("150000 100000\n"), 2u);
    cr_assert_eq(wf_cpus_of_cpu_max("50000 100000"), 1u);
    cr_assert_eq(wf_cpus_of_cpu_max(""), 0u);
    cr_assert_eq(wf_cpus_of_cpu_max("150000"), 0u);
    cr_assert_eq(wf_cpus_of_cpu_max("rubbish"), 0u);
    cr_assert_eq(wf_cpus_of_cpu_max("99999999999999999999999 1"), UINT_MAX);
}

static void expect_path(const char *line, const char *controller, const char *expected)
{
    const char *path = NULL;
    size_t length = wf_cpus_cgroup_path(line, controller, &path);
    cr_assert_eq(length, strlen(expected), "%s: length %zu", line, length);
    cr_assert(length == 0 || memcmp(path, expected, length) == 0, "%s: %s", line, path);
}

Test(cpus, a_line_of_proc_self_cgroup_gives_its_path)
{
    expect_path("0::/user.slice/a:b\n", NULL, "/user.slice/a:b");
    expect_path("0::/\n", NULL, "/");
    expect_path("4:cpu,cpuacct:/docker/12\n", "cpu", "/docker/12");
    expect_path("4:cpuacct,cpu:/x", "cpu", "/x");
    expect_path("4:cpu:/x", "cpu", "/x");
}

Test(cpus, a_line_of_another_controller_gives_none)
{
    expect_path("4:cpu,cpuacct:/docker/12\n", NULL, "");
    expect_path("3:cpuset:/x", "cpu", "");
    expect_path("2:cpuacct:/x", "cpu", "");
    expect_path("1:name=cpu:/x", "cpu", "");
    expect_path("0::/x", "cpu", "");
    expect_path("", NULL, "");
    expect_path("0:", NULL, "");
    expect_path("0::", NULL, "");
    expect_path("0::relative", NULL, "");
}

Test(cpus, a_path_that_leaves_the_namespace_counts_as_the_root)
{
    expect_path("0::/../../elsewhere\n", NULL, "/");
    expect_path("0::/..", NULL, "/");
    expect_path("0::/a/..b", NULL, "/a/..b");
}

/* A throw-away system. */
typedef struct fake {
    char root[64];
} fake;

static void make_fake(fake *f)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(f->root, sizeof f->root, "%.40s/weft-cpus-XXXXXX", tmp ? tmp : "/tmp");
    cr_assert_not_null(mkdtemp(f->root));
}

static void put(const fake *f, const char *file, const char *text)
{
    char path[256];
    int length = snprintf(path, sizeof path, "%s%s", f->root, file);
    cr_assert(length > 0 && (size_t)length < sizeof path);
    for (char *slash = path + strlen(f->root) + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
        *slash = '\0';
        mkdir(path, 0700);
    }
    FILE *out = fopen(path, "w");
    cr_assert_not_null(out, "%s", path);
    fputs(text, out);
    fclose(out);
}

static void remove_fake(const fake *f)
{
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", f->root);
    cr_assert_eq(system(command), 0);
}

static unsigned limit_and_remove(const fake *f)
{
    unsigned limit = wf_cpus_of_cgroups(f->root);
    remove_fake(f);
    return limit;
}

Test(cpus, without_proc_there_is_no_limit) { cr_assert_eq(wf_cpus_of_cgroups("/nowhere/at/all"), 0u); }

Test(cpus, without_quota_files_there_is_no_limit)
{
    fake f;
    make_fake(&f);
    put(&f, "/proc/self/cgroup", "0::/a/b\n");
    cr_assert_eq(limit_and_remove(&f), 0u);
}

Test(cpus, a_parents_tighter_quota_counts)
{
    fake f;
    make_fake(&f);
    put(&f, "/proc/self/cgroup", "0::/a/b/c\n");
    put(&f, "/sys/fs/cgroup/a/b/c/cpu.max", "800000 100000\n");
    put(&f, "/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    put(&f, "/sys/fs/cgroup/a/cpu.max", "250000 100000\n");
    cr_assert_eq(limit_and_remove(&f), 3u);
}

Test(cpus, the_own_quota_counts_when_it_is_the_tightest)
{
    fake f;
    make_fake(&f);
    put(&f, "/proc/self/cgroup", "0::/a/b\n");
    put(&f, "/sys/fs/cgroup/a/b/cpu.max", "100000 100000\n");
    put(&f, "/sys/fs/cgroup/a/cpu.max", "250000 100000\n");
    cr_assert_eq(limit_and_remove(&f), 1u);
}

Test(cpus, a_container_whose_path_is_not_mounted_has_the_quota_of_the_mount)
{
    fake f;
    make_fake(&f);
    put(&f, "/proc/self/cgroup", "0::/docker/0123456789\n");
    put(&f, "/sys/fs/cgroup/cpu.max", "150000 100000\n");
    cr_assert_eq(limit_and_remove(&f), 2u);
}

Test(cpus, a_path_out_of_the_namespace_does_not_leave_the_mount)
{
    fake f;
    make_fake(&f);
    put(&f, "/proc/self/cgroup", "0::/../x\n");
    put(&f, "/sys/fs/x/cpu.max", "100000 100000\n");
    put(&f, "/sys/fs/cgroup/cpu.max", "400000 100000\n");
    cr_assert_eq(limit_and_remove(&f), 4u);
}

Test(cpus, version_1_quotas_count_up_to_the_mount)
{
    fake f;
    make_fake(&f);
    put(&f, "/proc/self/cgroup", "5:cpuset:/z\n4:cpu,cpuacct:/a/b\n0::/\n");
    put(&f, "/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us", "-1\n");
    put(&f, "/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us", "100000\n");
    put(&f, "/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "450000\n");
    put(&f, "/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
    cr_assert_eq(limit_and_remove(&f), 5u);
}

Test(cpus, of_both_versions_the_tighter_counts)
{
    fake f;
    make_fake(&f);
    put(&f, "/proc/self/cgroup", "1:cpu:/\n0::/u\n");
    put(&f, "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "300000\n");
    put(&f, "/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    put(&f, "/sys/fs/cgroup/unified/u/cpu.max", "200000 100000\n");
    cr_assert_eq(limit_and_remove(&f), 2u);
}

Test(cpus, a_path_too_long_to_look_at_is_no_limit)
{
    fake f;
    make_fake(&f);
    char *line = malloc(2 * PATH_MAX);
    cr_assert_not_null(line);
    memset(line, 'a', 2 * PATH_MAX);
    memcpy(line, "0::/", 4);
    line[2 * PATH_MAX - 1] = '\0';
    put(&f, "/proc/self/cgroup", line);
    free(line);
    cr_assert_eq(limit_and_remove(&f), 0u);
}

Test(cpus, here_it_is_at_least_one_and_at_most_what_exists)
{
    cr_assert_geq(wf_cpus_allowed(), 1u);
    cr_assert_leq(wf_cpus_allowed(), (unsigned)sysconf(_SC_NPROCESSORS_CONF));
}

/* On a thread of its own, because the mask stays. */
static void *allowed_on_one_cpu(void *out)
{
    cpu_set_t one;
    int cpu = sched_getcpu();
    CPU_ZERO(&one);
    CPU_SET(cpu < 0 ? 0 : cpu, &one);
    *(unsigned *)out = sched_setaffinity(0, sizeof one, &one) == 0 ? wf_cpus_allowed() : 1;
    return NULL;
}

Test(cpus, an_affinity_mask_of_one_cpu_allows_one)
{
    unsigned allowed = 0;
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, allowed_on_one_cpu, &allowed), 0);
    pthread_join(thread, NULL);
    cr_assert_eq(allowed, 1u);
}
