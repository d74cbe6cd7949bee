# WeftLto - link-time optimization inside the library: its objects become one before anybody links them.
#
# A spawn, a wake or a join passes through half a dozen files, and calls between them were a third of its instructions. Users notice nothing: both
# libraries hold ordinary machine code, for any compiler and linker.

# weft_join_objects(VARIABLE OBJECT_LIBRARY): @VARIABLE becomes what to make libraries of.
function(weft_join_objects variable library)
  set(${variable} $<TARGET_OBJECTS:${library}> PARENT_SCOPE)
  if(NOT WEFT_LTO)
    return()
  endif()
  set(joined ${PROJECT_BINARY_DIR}/${library}.o)
  string(TOUPPER "${CMAKE_BUILD_TYPE}" type)
  separate_arguments(flags UNIX_COMMAND "${CMAKE_C_FLAGS} ${CMAKE_C_FLAGS_${type}}")
  target_compile_options(${library} PRIVATE "$<$<COMPILE_LANGUAGE:C>:-flto;-fno-fat-lto-objects;-fno-semantic-interposition>")
  add_custom_command(OUTPUT ${joined}
    COMMAND ${CMAKE_C_COMPILER} ${flags} -fPIC -flto -flto-partition=one -flinker-output=nolto-rel -r -nostdlib
      -o ${joined} $<TARGET_OBJECTS:${library}>
    DEPENDS $<TARGET_OBJECTS:${library}>
    COMMENT "Optimizing ${library} as a whole"
    COMMAND_EXPAND_LISTS VERBATIM)
  set_source_files_properties(${joined} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
  set(${variable} ${joined} PARENT_SCOPE)
endfunction()

# Whether this compiler can: gcc can since 9. Sanitizers, coverage and fuzzers want to see the files as they are; debuggers, too.
function(weft_check_lto variable)
  set(${variable} OFF PARENT_SCOPE)
  if(NOT CMAKE_C_COMPILER_ID STREQUAL "GNU" OR CMAKE_BUILD_TYPE STREQUAL "Debug" OR WEFT_SANITIZE OR WEFT_COVERAGE OR WEFT_FUZZ OR APPLE)
    return()
  endif()
  include(CheckCSourceCompiles)
  set(CMAKE_REQUIRED_FLAGS "-flto -flinker-output=nolto-rel -r -nostdlib")
  check_c_source_compiles("int weft_probe(void) { return 0; }" WEFT_HAVE_PARTIAL_LTO)
  set(${variable} ${WEFT_HAVE_PARTIAL_LTO} PARENT_SCOPE)
endfunction()

if(WEFT_LTO STREQUAL "auto")
  weft_check_lto(WEFT_LTO)
elseif(NOT WEFT_LTO MATCHES "^(on|off|ON|OFF)$")
  message(FATAL_ERROR "WEFT_LTO is '${WEFT_LTO}', not one of auto, on, off")
endif()
