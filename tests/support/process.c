/* process.c - /proc/self, counted. */
#include "process.h"

#include <dirent.h>
#include <inttypes.h>
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
    size_t bytes = 0;
    uintptr_t from, to;
    FILE *f = fopen("/proc/self/maps", "re"); /* unlike statm, without an emulator's own */
    cr_assert_not_null(f);
    while (fscanf(f, "%" SCNxPTR "-%" SCNxPTR "%*[^\n]", &from, &to) == 2)
        bytes += to - from;
    fclose(f);
    cr_assert_gt(bytes, 0);
    return bytes;
}

__attribute__((noinline)) long thread_id(void)
{
    __asm__ volatile("" ::: "memory");
    return syscall(SYS_gettid);
}
