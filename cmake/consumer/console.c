#include <weft.h>
#include <weft/console.h>

static void *root(void *arg) { return weft_console_start("127.0.0.1:0") < 0 ? arg : NULL; }

int main(void)
{
    int failed;
    void *result = NULL;
    return weft_run(root, &failed, &result) != 0 || result;
}
