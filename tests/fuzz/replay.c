/* replay.c - a main() for a fuzz target without libFuzzer: runs what lies in the files and folders that it is given.
 *
 * Each input's name is printed before it runs, so the last one is that which failed. */
#include "fuzz.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static unsigned replayed;

static void replay_file(const char *path)
{
    static uint8_t space[1 << 20];
    FILE *f = fopen(path, "rb");
    FUZZ_EXPECT(f, "%s", path);
    size_t size = fread(space, 1, sizeof space, f);
    fclose(f);
    printf("%s\n", path);
    fflush(stdout);
    fuzz_input in = fuzz_open(space, size);
    uint8_t *exact = fuzz_take(&in, &size);
    FUZZ_EXPECT(LLVMFuzzerTestOneInput(exact, size) == 0);
    free(exact);
    replayed++;
}

static void replay_folder(const char *path)
{
    struct dirent **entries;
    int n = scandir(path, &entries, NULL, alphasort);
    FUZZ_EXPECT(n >= 0, "%s", path);
    for (int i = 0; i < n; i++) {
        char file[4096];
        snprintf(file, sizeof file, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            replay_file(file);
        free(entries[i]);
    }
    free(entries);
}

int main(int argc, char **argv)
{
    struct stat st;
    for (int i = 1; i < argc; i++) {
        FUZZ_EXPECT(stat(argv[i], &st) == 0, "%s", argv[i]);
        (S_ISDIR(st.st_mode) ? replay_folder : replay_file)(argv[i]);
    }
    printf("%u inputs\n", replayed);
    return replayed > 0 ? 0 : 1;
}
