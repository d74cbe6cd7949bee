/* process.c - /proc/self, counted. */
#include "process.h"

#include <dirent.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <support/test.h>
#include <sys/syscall.h>
#include <unistd.h>

static unsigned entries(const char *folder)
{
    unsigned n = 0;
    DIR *dir = opendir(folder);
    cr_assert_not_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

unsigned open_fds(void) { return entries("/proc/self/fd"); }
unsigned threads(void) { return entries("/proc/self/task"); }

void steady_address_space(void)
{
#ifdef __GLIBC__
    mallopt(M_ARENA_MAX, 1);
#endif
}

size_t address_space(void)
{
    size_t pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    cr_assert_not_null(f);
    cr_assert_eq(fscanf(f, "%zu", &pages), 1);
    fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

__attribute__((noinline)) long thread_id(void)
{
    __asm__ volatile("" ::: "memory");
    return syscall(SYS_gettid);
}
