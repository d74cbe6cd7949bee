/* scarce_console_test.c - a console that is started on a machine that has run out of everything: in its thread, too. See support/scarce.h. */
#include <support/scarce.h>
#include <weft.h>
#include <weft/console.h>

/* What is refused to its strand once that is spawned ends the console again, as it ends any strand. So nobody is asked here. */
static void starts(void)
{
    int port = 0;
    weft_console_options o = {.address = "127.0.0.1:0", .port = &port};
    SCARCE_TRY(0, weft_console_start_with(&o));
    cr_assert_gt(port, 0, "%s", scarce_at());
    SCARCE_TRY(0, weft_console_start("127.0.0.1:0"));
}

static const scarce_scene scenes[] = {SCARCE_STRAND(starts, 20)};

Test(scarce_console, on_one_worker) { scarce_play(scenes, sizeof scenes / sizeof scenes[0], 1); }
Test(scarce_console, on_two_workers) { scarce_play(scenes, sizeof scenes / sizeof scenes[0], 2); }
