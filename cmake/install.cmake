# What `cmake --install` puts where, the CMake package (find_package(spcc)) and spcc.pc.
include(CMakePackageConfigHelpers)

set_target_properties(spcc_rt PROPERTIES EXPORT_NAME rt)
set_target_properties(spcc_text PROPERTIES EXPORT_NAME text)
foreach(library spcc_rt spcc_text spo)
  target_include_directories(${library} INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
endforeach()
install(TARGETS spcc spcc_rt spcc_text spo EXPORT spcc-targets)
install(FILES runtime/spcc_rt.h text/spcc_wordpiece.h optimizer/spo.h optimizer/spo_recipe.h
              optimizer/spo_oneshot.h optimizer/spo_train.h optimizer/spo_lowrank.h
              optimizer/spo_methods.def optimizer/spo_options.def
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
# Where `spcc bench --engine=torch` looks for it.
install(FILES bench/torch_engine.py DESTINATION ${CMAKE_INSTALL_DATADIR}/spcc)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/spcc)
install(EXPORT spcc-targets NAMESPACE spcc:: DESTINATION ${package_dir})
configure_package_config_file(cmake/spcc-config.cmake.in spcc-config.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(spcc-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/spcc-config.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/spcc-config-version.cmake
              cmake/spcc-add-model.cmake DESTINATION ${package_dir})

# From the folder of the .pc files back to the prefix, so that an installed tree may be moved.
file(RELATIVE_PATH pc_to_prefix /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
foreach(pc spcc.pc spo.pc)
  configure_file(cmake/${pc}.in ${pc} @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/${pc} DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()
