# i386 - cross-compile for 32-bit x86 with Debian's compiler and multiarch libraries; x86-64 runs it as it is.
#
# Packages: gcc-i686-linux-gnu, libc6-dev-i386-cross and, after `dpkg --add-architecture i386`, libuv1-dev:i386.

set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR i686)
set(CMAKE_C_COMPILER i686-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE i386-linux-gnu)

set(ENV{PKG_CONFIG_LIBDIR} /usr/lib/i386-linux-gnu/pkgconfig:/usr/share/pkgconfig)
