# WeftConsole - the library weft-console, if jansson and http-parser are there or it is asked for. TARGET weft_console says whether it is built.

if(NOT WEFT_CONSOLE MATCHES "^([Aa][Uu][Tt][Oo]|[Oo][Nn]|[Oo][Ff][Ff])$")
  message(FATAL_ERROR "WEFT_CONSOLE is '${WEFT_CONSOLE}', not one of auto, on, off")
endif()
string(TOLOWER ${WEFT_CONSOLE} weft_console_wanted)
if(weft_console_wanted STREQUAL "off")
  return()
endif()
pkg_check_modules(jansson IMPORTED_TARGET jansson>=2.10)
# It has no pkg-config module.
find_path(WEFT_HTTP_PARSER_INCLUDE http_parser.h)
find_library(WEFT_HTTP_PARSER_LIBRARY http_parser)
mark_as_advanced(WEFT_HTTP_PARSER_INCLUDE WEFT_HTTP_PARSER_LIBRARY)
if(NOT jansson_FOUND OR NOT WEFT_HTTP_PARSER_INCLUDE OR NOT WEFT_HTTP_PARSER_LIBRARY)
  if(weft_console_wanted STREQUAL "on")
    message(FATAL_ERROR "weft-console needs jansson (2.10 or newer) and http-parser")
  endif()
  return()
endif()
if(CMAKE_CROSSCOMPILING AND NOT weft_console_wanted STREQUAL "on")
  return() # what was found is this machine's
endif()

set(weft_console_page ${PROJECT_BINARY_DIR}/console/page.c)
add_custom_command(OUTPUT ${weft_console_page}
  COMMAND ${CMAKE_COMMAND} -D IN=${PROJECT_SOURCE_DIR}/console/page.html -D OUT=${weft_console_page} -D NAME=wf_console_page
    -P ${PROJECT_SOURCE_DIR}/cmake/embed.cmake
  DEPENDS ${PROJECT_SOURCE_DIR}/console/page.html ${PROJECT_SOURCE_DIR}/cmake/embed.cmake VERBATIM)

file(GLOB weft_console_sources CONFIGURE_DEPENDS console/*.c)
add_library(weft_console_objects OBJECT ${weft_console_sources} ${weft_console_page})
set_target_properties(weft_console_objects PROPERTIES POSITION_INDEPENDENT_CODE ON C_VISIBILITY_PRESET hidden)
target_include_directories(weft_console_objects PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include
  ${WEFT_HTTP_PARSER_INCLUDE})
target_link_libraries(weft_console_objects PRIVATE weft_flags PkgConfig::jansson Threads::Threads)

add_library(weft_console SHARED $<TARGET_OBJECTS:weft_console_objects>)
add_library(weft_console_static STATIC $<TARGET_OBJECTS:weft_console_objects>)
set_target_properties(weft_console PROPERTIES OUTPUT_NAME weft-console EXPORT_NAME console LINKER_LANGUAGE C
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
set_target_properties(weft_console_static PROPERTIES OUTPUT_NAME weft-console EXPORT_NAME console_static LINKER_LANGUAGE C)
target_link_libraries(weft_console PUBLIC weft)
target_link_libraries(weft_console_static PUBLIC weft_static)
# http-parser by its name: where it lies here is nobody's business elsewhere.
get_filename_component(weft_http_parser_dir ${WEFT_HTTP_PARSER_LIBRARY} DIRECTORY)
foreach(library weft_console weft_console_static)
  target_link_directories(${library} PRIVATE $<BUILD_INTERFACE:${weft_http_parser_dir}>)
  target_link_libraries(${library} PRIVATE PkgConfig::jansson http_parser Threads::Threads)
endforeach()
add_library(weft::console ALIAS weft_console)
add_library(weft::console_static ALIAS weft_console_static)
