# Compile every public header alone, as C++ and as strict C: each includes what it needs.

file(GLOB_RECURSE headers RELATIVE ${INCLUDE} ${INCLUDE}/*.h)
set(failed FALSE)
foreach(header IN LISTS headers)
  set(definitions "")
  if(header STREQUAL "weft/uv.h")
    set(definitions -D_GNU_SOURCE) # what <uv.h> itself needs
  endif()
  foreach(language "${CXX};-x;c++;-std=c++11" "${CC};-x;c;-std=c11")
    execute_process(COMMAND ${language} -Wall -Wextra -Werror ${definitions} -I${INCLUDE} -fsyntax-only -include ${header} /dev/null
      RESULT_VARIABLE code ERROR_VARIABLE err)
    if(NOT code EQUAL 0)
      message("${header}:\n${err}")
      set(failed TRUE)
    endif()
  endforeach()
endforeach()
if(failed)
  message(FATAL_ERROR "a public header does not stand alone")
endif()
