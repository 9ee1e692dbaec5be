# spcc_add_model(target model.yaml [NAME name]): compiles the model when the program is built, and
# links the object into `target`, which can then include "name.h"; the name is that of the yaml
# unless given. A model may be added twice under two names.
function(spcc_add_model target yaml)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "NAME" "")
  get_filename_component(yaml ${yaml} ABSOLUTE)
  get_filename_component(name ${yaml} NAME_WE)
  if(arg_NAME)
    set(name ${arg_NAME})
  endif()
  set(object ${CMAKE_CURRENT_BINARY_DIR}/${name}.o)
  add_custom_command(OUTPUT ${object} ${CMAKE_CURRENT_BINARY_DIR}/${name}.h
                     COMMAND spcc::spcc ${yaml} --name=${name} -o ${object}
                     DEPENDS ${yaml} spcc::spcc VERBATIM)
  target_sources(${target} PRIVATE ${object})
  target_include_directories(${target} PRIVATE ${CMAKE_CURRENT_BINARY_DIR})
  target_link_libraries(${target} PRIVATE spcc::rt)
endfunction()
