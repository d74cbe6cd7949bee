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
  target_compile_options(${library} PRIVATE "$<$<COMPILE_LANGUAGE:C>:-flto;-fno-fat-lto-objects;-fno-semantic-interposition;-ffunction-sections;-fdata-sections>")
  add_custom_command(OUTPUT ${joined}
    COMMAND ${CMAKE_C_COMPILER} ${flags} -fPIC -ffunction-sections -fdata-sections -flto -flto-partition=one -flinker-output=nolto-rel -r -nostdlib
      -o ${joined} $<TARGET_OBJECTS:${library}>
    DEPENDS $<TARGET_OBJECTS:${library}>
    COMMENT "Optimizing ${library} as a whole"
    COMMAND_EXPAND_LISTS VERBATIM)
  set_source_files_properties(${joined} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
  add_custom_target(${library}_joined DEPENDS ${joined})
  add_dependencies(${library}_joined ${library}) # make knows only by targets what comes first
  set(${variable} ${joined} PARENT_SCOPE)
endfunction()

# weft_depend_on_joined(OBJECT_LIBRARY LIBRARY...): several libraries of the same joined objects, which are made once.
function(weft_depend_on_joined library)
  if(TARGET ${library}_joined)
    foreach(user IN LISTS ARGN)
      add_dependencies(${user} ${library}_joined)
    endforeach()
  endif()
endfunction()

# Whether this compiler can: gcc can since 9. Sanitizers, coverage and fuzzers want to see the files as they are; debuggers, too. What a project around
# this one asks for by add_compile_options() would not reach the joining, so where that could matter there is none.
function(weft_check_lto variable)
  set(${variable} OFF PARENT_SCOPE)
  get_property(several_types GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
  get_directory_property(options COMPILE_OPTIONS)
  string(TOUPPER "${CMAKE_BUILD_TYPE}" type)
  set(all_flags "${options} ${CMAKE_C_FLAGS} ${CMAKE_C_FLAGS_${type}} ${CMAKE_C_COMPILER_ARG1}")
  if(NOT CMAKE_C_COMPILER_ID STREQUAL "GNU" OR CMAKE_BUILD_TYPE STREQUAL "Debug" OR several_types OR APPLE
      OR WEFT_SANITIZE OR WEFT_COVERAGE OR WEFT_FUZZ
      OR all_flags MATCHES "-fsanitize|--coverage|-fprofile|-ftest-coverage|-finstrument|--sysroot" OR "${options}" MATCHES "-m|-f")
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
