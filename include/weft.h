/* weft.h - a multi-threaded async runtime for C. Includes everything but <weft/uv.h>. */
#ifndef WEFT_H
#define WEFT_H

#include <weft/base.h>
#include <weft/coro.h>
#include <weft/diag.h>
#include <weft/future.h>
#include <weft/io.h>
#include <weft/net.h>
#include <weft/os.h>
#include <weft/runtime.h>
#include <weft/task.h>
#include <weft/time.h>

#endif
