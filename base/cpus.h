/* cpus.h - how many CPUs this process may use: what the affinity mask allows, and what the cgroups' quotas pay for.
 *
 * The parts are here too, so that they can be tested on texts and on a directory that only looks like a system. */
#ifndef WF_CPUS_H
#define WF_CPUS_H

#include <base/common.h>

/* At least 1. Reads /proc and /sys: for start-up, not for hot paths. Any thread. */
unsigned wf_cpus_allowed(void);

/* CPUs in the affinity mask; 0 when the kernel does not say. One system call, as a rule. */
unsigned wf_cpus_of_affinity(void);

/* The CPU that the calling thread runs on, a moment ago; negative when the kernel does not say. No system call, as a rule. */
int wf_cpu_here(void);

/* CPUs that @quota microseconds in every @period pay for, rounded up; 0: no limit (also for numbers that make no
 * sense). */
unsigned wf_cpus_of_quota(int64_t quota, int64_t period);

/* The same from the text of cgroup v2's cpu.max: "max 100000", "150000 100000". */
unsigned wf_cpus_of_cpu_max(const char *text);

/* The path inside one line of /proc/self/cgroup, "0::/user.slice" or "4:cpu,cpuacct:/user.slice", when the line is that
 * of @controller (NULL: of version 2). Returns its length with *@path pointing into @line, or 0. A path that leaves the
 * namespace ("/../x") counts as "/". */
size_t wf_cpus_cgroup_path(const char *line, const char *controller, const char **path);

/* The smallest limit of this process's cgroups and all their parents, for a system that begins at @root (""); 0: no
 * limit. */
unsigned wf_cpus_of_cgroups(const char *root);

#endif
