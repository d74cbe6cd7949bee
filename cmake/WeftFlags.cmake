# WeftFlags - turns the options into compiler flags.
#
# Definitions and sanitizers hold for everything in the project, tests included; warnings hold for what links weft_flags.

# Exactly one context switch.
if(WEFT_SWITCH STREQUAL "auto")
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|AMD64|aarch64|arm64)$" AND CMAKE_SIZEOF_VOID_P EQUAL 8)
    set(WEFT_SWITCH asm)
  else()
    set(WEFT_SWITCH ucontext)
  endif()
elseif(NOT WEFT_SWITCH MATCHES "^(asm|ucontext)$")
  message(FATAL_ERROR "WEFT_SWITCH is '${WEFT_SWITCH}', not one of auto, asm, ucontext")
endif()
if(WEFT_SWITCH STREQUAL "ucontext")
  add_compile_definitions(WF_SWITCH_UCONTEXT=1)
endif()

# libuv is built so, and has positions in files in its structs.
if(CMAKE_SIZEOF_VOID_P EQUAL 4)
  add_compile_definitions(_FILE_OFFSET_BITS=64)
endif()

# Exactly one way to watch descriptors.
if(WEFT_REACTOR STREQUAL "auto")
  if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
    set(WEFT_REACTOR epoll)
  else()
    set(WEFT_REACTOR uvpoll)
  endif()
elseif(NOT WEFT_REACTOR MATCHES "^(epoll|uvpoll)$")
  message(FATAL_ERROR "WEFT_REACTOR is '${WEFT_REACTOR}', not one of auto, epoll, uvpoll")
endif()
if(WEFT_REACTOR STREQUAL "uvpoll")
  add_compile_definitions(WF_REACTOR_UVPOLL=1)
endif()

if(WEFT_STRESS)
  add_compile_definitions(WF_STRESS=1)
endif()

if(WEFT_SANITIZE STREQUAL "address")
  set(weft_sanitizer -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
elseif(WEFT_SANITIZE STREQUAL "thread")
  set(weft_sanitizer -fsanitize=thread -fno-omit-frame-pointer)
elseif(WEFT_SANITIZE)
  message(FATAL_ERROR "WEFT_SANITIZE is '${WEFT_SANITIZE}', not one of address, thread")
endif()
if(WEFT_SANITIZE)
  add_compile_options("$<$<COMPILE_LANGUAGE:C>:${weft_sanitizer}>")
  add_link_options(${weft_sanitizer})
endif()

# Several threads count, and processes that the tests fork add up.
if(WEFT_COVERAGE)
  add_compile_options("$<$<COMPILE_LANGUAGE:C>:--coverage;-fprofile-update=atomic>")
  add_link_options(--coverage)
endif()

# Everything tells libFuzzer where it has been; the targets bring its main().
if(WEFT_FUZZ)
  add_compile_options("$<$<COMPILE_LANGUAGE:C>:-fsanitize=fuzzer-no-link>")
endif()

add_library(weft_flags INTERFACE)
# gcc 12 joins neighbouring fields into one vector load right after they were stored one by one, which the CPU cannot forward: 5 ns
# for each such pair on the switch path.
target_compile_options(weft_flags INTERFACE "$<$<COMPILE_LANGUAGE:C>:-fno-tree-slp-vectorize>")
target_compile_definitions(weft_flags INTERFACE _GNU_SOURCE)
set(weft_warnings
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wpointer-arith
  -Wvla -Wformat=2 $<$<C_COMPILER_ID:Clang,AppleClang>:-Wthread-safety> $<$<BOOL:${WEFT_WERROR}>:-Werror>)
target_compile_options(weft_flags INTERFACE "$<$<COMPILE_LANGUAGE:C>:${weft_warnings}>")
