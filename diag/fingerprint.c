/* fingerprint.c - see fingerprint.h. */
#include <diag/fingerprint.h>
#include <link.h>
#include <stdlib.h>

static int compare(const void *a, const void *b)
{
    const uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;
    return (x > y) - (x < y);
}

static int add_object(struct dl_phdr_info *info, size_t size, void *arg)
{
    wf_code *code = arg;
    (void)size;
    for (unsigned i = 0; i < info->dlpi_phnum && code->count < WF_CODE_RANGES; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X))
            continue;
        code->ranges[code->count].low = (uintptr_t)(info->dlpi_addr + part->p_vaddr);
        code->ranges[code->count].high = (uintptr_t)(info->dlpi_addr + part->p_vaddr + part->p_memsz);
        code->count++;
    }
    return 0;
}

void wf_code_find(wf_code *code)
{
    code->count = 0;
    dl_iterate_phdr(add_object, code);
    qsort(code->ranges, code->count, sizeof *code->ranges, compare);
}

static bool is_code(const wf_code *code, uint64_t address)
{
    unsigned low = 0, high = code->count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (address >= code->ranges[middle].high)
            low = middle + 1;
        else
            high = middle;
    }
    return low < code->count && address >= code->ranges[low].low;
}

uint64_t wf_hash(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

static uint64_t of_stack(uint64_t hash, const wf_frozen *f, const wf_frozen_stack *stack, const wf_code *code)
{
    const uint64_t *words = (const void *)(f->bytes + stack->at);
    size_t count = (stack->high - stack->low) / sizeof *words;
    hash = wf_hash(hash, count);
    for (size_t i = 0; i < count; i++)
        if (is_code(code, words[i]))
            hash = wf_hash(wf_hash(hash, i), words[i]);
    return hash;
}

uint64_t wf_fingerprint(const wf_frozen *frozen, const wf_code *code)
{
    uint64_t hash = frozen->cut;
    for (unsigned i = 0; i < frozen->count; i++)
        hash = of_stack(hash, frozen, &frozen->stacks[i], code);
    return hash;
}
