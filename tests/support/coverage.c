/* coverage.c - for the preset `coverage`: processes that end without exit handlers write down what they have run, too.
 *
 * Tests of panics, and of what a program inherits, run in children that end by abort() or _exit(). The linker puts these in their place. */
#include <stdlib.h>
#include <unistd.h>

void __gcov_dump(void);
void __real_abort(void) __attribute__((noreturn));
void __real__exit(int status) __attribute__((noreturn));
void __wrap_abort(void) __attribute__((noreturn));
void __wrap__exit(int status) __attribute__((noreturn));

void __wrap_abort(void)
{
    __gcov_dump();
    __real_abort();
}

void __wrap__exit(int status)
{
    __gcov_dump();
    __real__exit(status);
}
