# WeftInstall - headers, both libraries, weft.pc and the CMake package; all of it may be moved elsewhere afterwards.

include(CMakePackageConfigHelpers)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN "*.h" PATTERN "tls.h" EXCLUDE PATTERN "console.h" EXCLUDE)
install(TARGETS weft weft_static EXPORT weftTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET weft_debug)
  install(TARGETS weft_debug LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
if(TARGET weft_tls)
  install(FILES ${PROJECT_SOURCE_DIR}/include/weft/tls.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/weft)
  install(TARGETS weft_tls weft_tls_static EXPORT weftTlsTargets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
if(TARGET weft_console)
  install(FILES ${PROJECT_SOURCE_DIR}/include/weft/console.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/weft)
  install(TARGETS weft_console weft_console_static EXPORT weftConsoleTargets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()

# gdb looks for a script beside the library that it has loaded, and runs it if it lies where gdb has been told that scripts are safe. Of /usr that is
# share/gdb/auto-load, and there only: what lies beside the library would be found first, and refused. Of another prefix its user says so once, in ~/.gdbinit:
#   add-auto-load-safe-path PREFIX/lib
# Beside the library in the build tree, too; for static programs: source debug/weft-gdb.py
if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
  set(weft_gdb_script libweft.so.${PROJECT_VERSION}-gdb.py)
  configure_file(${PROJECT_SOURCE_DIR}/debug/weft-gdb.py ${PROJECT_BINARY_DIR}/${weft_gdb_script} COPYONLY)
  install(CODE "
    if(IS_ABSOLUTE \"${CMAKE_INSTALL_LIBDIR}\")
      set(libdir \"${CMAKE_INSTALL_LIBDIR}\")
    else()
      set(libdir \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}\")
    endif()
    if(CMAKE_INSTALL_PREFIX STREQUAL \"/usr\")
      set(libdir \"/usr/share/gdb/auto-load\${libdir}\")
    endif()
    file(INSTALL DESTINATION \"\${libdir}\" TYPE FILE FILES \"${PROJECT_BINARY_DIR}/${weft_gdb_script}\")")
endif()

set(weft_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/weft)
install(EXPORT weftTargets NAMESPACE weft:: DESTINATION ${weft_package_dir})
if(TARGET weft_tls)
  install(EXPORT weftTlsTargets NAMESPACE weft:: DESTINATION ${weft_package_dir})
endif()
if(TARGET weft_console)
  install(EXPORT weftConsoleTargets NAMESPACE weft:: DESTINATION ${weft_package_dir})
endif()
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/weftConfig.cmake.in ${PROJECT_BINARY_DIR}/weftConfig.cmake
  INSTALL_DESTINATION ${weft_package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/weftConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/weftConfig.cmake ${PROJECT_BINARY_DIR}/weftConfigVersion.cmake
  DESTINATION ${weft_package_dir})

# weft.pc, weft-tls.pc and weft-console.pc find the prefix from where they lie themselves.
if(IS_ABSOLUTE ${CMAKE_INSTALL_LIBDIR})
  set(weft_pc_prefix ${CMAKE_INSTALL_PREFIX})
  set(weft_pc_libdir ${CMAKE_INSTALL_LIBDIR})
else()
  file(RELATIVE_PATH weft_pc_up /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
  string(REGEX REPLACE "/$" "" weft_pc_up "${weft_pc_up}")
  set(weft_pc_prefix "\${pcfiledir}/${weft_pc_up}")
  set(weft_pc_libdir "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
endif()
if(IS_ABSOLUTE ${CMAKE_INSTALL_INCLUDEDIR})
  set(weft_pc_includedir ${CMAKE_INSTALL_INCLUDEDIR})
else()
  set(weft_pc_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
if(CMAKE_DL_LIBS)
  set(weft_pc_dl " -l${CMAKE_DL_LIBS}")
endif()
configure_file(${CMAKE_CURRENT_LIST_DIR}/weft.pc.in ${PROJECT_BINARY_DIR}/weft.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/weft.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
if(TARGET weft_tls)
  configure_file(${CMAKE_CURRENT_LIST_DIR}/weft-tls.pc.in ${PROJECT_BINARY_DIR}/weft-tls.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/weft-tls.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()
if(TARGET weft_console)
  configure_file(${CMAKE_CURRENT_LIST_DIR}/weft-console.pc.in ${PROJECT_BINARY_DIR}/weft-console.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/weft-console.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()
