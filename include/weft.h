/* weft.h - a multi-threaded async runtime for C. Includes everything but <weft/uv.h>. */
#ifndef WEFT_H
#define WEFT_H

#include <weft/base.h>
#include <weft/buffered.h>
#include <weft/chan.h>
#include <weft/coro.h>
#include <weft/diag.h>
#include <weft/future.h>
#include <weft/group.h>
#include <weft/hooks.h>
#include <weft/io.h>
#include <weft/layer.h>
#include <weft/net.h>
#include <weft/os.h>
#include <weft/runtime.h>
#include <weft/scope.h>
#include <weft/scoped.h>
#include <weft/select.h>
#include <weft/sync.h>
#include <weft/task.h>
#include <weft/time.h>
#include <weft/token.h>
#include <weft/udp.h>

#endif
