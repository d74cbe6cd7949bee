# Install the build tree BUILD, move what was installed, and use it as strangers do: by find_package and by pkg-config.

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE out)
  if(NOT code EQUAL 0)
    string(REPLACE ";" " " command "${ARGN}")
    message(FATAL_ERROR "${command}\nended with ${code}:\n${out}")
  endif()
endfunction()

set(work ${BUILD}/check_install)
file(REMOVE_RECURSE ${work})
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${work}/first)
file(RENAME ${work}/first ${work}/moved)

# By find_package: shared and static.
run(${CMAKE_COMMAND} -S ${CONSUMER} -B ${work}/consumer -G ${GENERATOR} -D CMAKE_C_COMPILER=${CC}
  -D CMAKE_PREFIX_PATH=${work}/moved)
run(${CMAKE_COMMAND} --build ${work}/consumer)
run(${work}/consumer/consumer_shared)
run(${work}/consumer/consumer_static)

# By pkg-config: shared and static.
file(GLOB_RECURSE pc ${work}/moved/weft.pc)
get_filename_component(pc_dir ${pc} DIRECTORY)
file(READ ${pc} text)
if(text MATCHES "${work}|${BUILD}")
  message(FATAL_ERROR "weft.pc names the place where it was built:\n${text}")
endif()
set(ENV{PKG_CONFIG_PATH} "${pc_dir}:$ENV{PKG_CONFIG_PATH}")
function(pkg_config result)
  execute_process(COMMAND ${PKG_CONFIG} ${ARGN} weft OUTPUT_VARIABLE out OUTPUT_STRIP_TRAILING_WHITESPACE
    COMMAND_ERROR_IS_FATAL ANY)
  separate_arguments(out UNIX_COMMAND "${out}")
  set(${result} ${out} PARENT_SCOPE)
endfunction()
pkg_config(flags --cflags --libs)
pkg_config(libdir --variable=libdir)
run(${CC} -std=c11 -Werror ${CONSUMER}/main.c -o ${work}/by_pkg_config ${flags} -Wl,-rpath,${libdir})
run(${work}/by_pkg_config)
pkg_config(flags --cflags)
pkg_config(private --static --libs-only-l)
pkg_config(other --static --libs-only-other)
list(REMOVE_ITEM private -lweft)
run(${CC} -std=c11 -Werror ${CONSUMER}/main.c -o ${work}/by_pkg_config_static ${flags} ${libdir}/libweft.a ${private} ${other})
run(${work}/by_pkg_config_static)
file(REMOVE_RECURSE ${work})
