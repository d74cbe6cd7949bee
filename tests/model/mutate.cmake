# Play one bug of mutations.txt: put it into a copy of its file, compile the scene against that, and see the scene fail.
#   cmake -D NAME=… -D LIST=… -D SOURCE=… -D WORK=… -D CC=… -D FLAGS=… -D OBJECTS=… -P mutate.cmake

# ---- the entry -------------------------------------------------------------------------------------------------------

file(READ ${LIST} text)
string(REPLACE ";" "\\;" text "${text}")
string(REGEX REPLACE "\n" ";" lines "${text}")

set(mine FALSE)
set(old "")
set(new "")
foreach(line IN LISTS lines)
  if(line MATCHES "^mutation: *(.*)$")
    string(COMPARE EQUAL "${CMAKE_MATCH_1}" "${NAME}" mine)
  elseif(mine AND line MATCHES "^(file|scene|only): *(.*)$")
    set(${CMAKE_MATCH_1} "${CMAKE_MATCH_2}")
  elseif(mine AND line MATCHES "^-(.*)$")
    string(APPEND old "${CMAKE_MATCH_1}\n")
  elseif(mine AND line MATCHES "^\\+(.*)$")
    string(APPEND new "${CMAKE_MATCH_1}\n")
  endif()
endforeach()
if(NOT file OR NOT scene OR old STREQUAL "")
  message(FATAL_ERROR "${NAME} has no file, no scene or no lines to take out")
endif()

# ---- the copy with the bug -------------------------------------------------------------------------------------------

file(READ ${SOURCE}/${file} code)
string(FIND "${code}" "${old}" first)
string(FIND "${code}" "${old}" last REVERSE)
if(first EQUAL -1 OR NOT first EQUAL last)
  message(FATAL_ERROR "${NAME}: the lines to take out are not in ${file} exactly once: bring mutations.txt up to date")
endif()
string(REPLACE "${old}" "${new}" code "${code}")
file(REMOVE_RECURSE ${WORK})
file(WRITE ${WORK}/${file} "${code}")

# ---- played ----------------------------------------------------------------------------------------------------------

set(scenes tests/model/scenes)
set(played ${SOURCE}/${scenes}/${scene}.c)
if(file STREQUAL "${scenes}/${scene}.c")
  set(played ${WORK}/${file})
endif()
execute_process(COMMAND ${CC} ${FLAGS} -g0 -w -I${WORK} -I${SOURCE} -I${SOURCE}/include -I${SOURCE}/${scenes}
  -c ${played} -o ${WORK}/scene.o COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${CC} -no-pie -pthread ${WORK}/scene.o ${OBJECTS} -o ${WORK}/scene COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${WORK}/scene ${only} RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE out)
message("${out}")
if(NOT code EQUAL 1)
  message(FATAL_ERROR "${NAME} was not found")
endif()
# The word that it prints shows it again.
if(NOT out MATCHES "--replay ([a-z0-9_]+) ([a-z0-9]+)")
  message(FATAL_ERROR "${NAME} was found, but no word to replay")
endif()
execute_process(COMMAND ${WORK}/scene --replay ${CMAKE_MATCH_1} ${CMAKE_MATCH_2} RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE out)
message("${out}")
if(NOT code EQUAL 1)
  message(FATAL_ERROR "${NAME}: the word did not show it again")
endif()
file(REMOVE_RECURSE ${WORK})
