/* probe.h - static probes (USDT) of the provider "weft", for perf, bpftrace, SystemTap and gdb: each is a nop and a note in the file, with words that are at
 * hand there. Without systemtap's header there are none. */
#ifndef WF_PROBE_H
#define WF_PROBE_H

#ifndef WF_PROBES
#if defined(__has_include) && defined(__linux__) && !WF_MODEL
#if __has_include(<sys/sdt.h>)
#define WF_PROBES 1
#endif
#endif
#ifndef WF_PROBES
#define WF_PROBES 0
#endif
#endif

#if WF_PROBES
#include <sys/sdt.h>
#define WF_PROBE1(name, a) STAP_PROBE1(weft, name, a)
#define WF_PROBE2(name, a, b) STAP_PROBE2(weft, name, a, b)
#else
#define WF_PROBE1(name, a) ((void)0)
#define WF_PROBE2(name, a, b) ((void)0)
#endif

#endif
