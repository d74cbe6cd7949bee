#include <weft.h>

static void *root(void *arg) { return arg; }

int main(void)
{
    int answer = 42;
    void *result = NULL;
    if (weft_version() != WEFT_VERSION_NUMBER)
        return 1;
    if (weft_run(root, &answer, &result) != 0)
        return 2;
    return result == &answer ? 0 : 3;
}
