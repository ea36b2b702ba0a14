# SPDX-License-Identifier: Apache-2.0
# What `cmake --install` puts where. Nothing in the tree names its own prefix, so that it can be moved as a whole.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/cozad)
install(TARGETS cozad EXPORT cozadTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT cozadTargets NAMESPACE cozad:: DESTINATION ${package_dir})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/cozad DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/cozadConfig.cmake.in ${PROJECT_BINARY_DIR}/cozadConfig.cmake
  INSTALL_DESTINATION ${package_dir})
# Before 1.0 a minor version may break the API.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/cozadConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/cozadConfig.cmake ${PROJECT_BINARY_DIR}/cozadConfigVersion.cmake
  DESTINATION ${package_dir})

# From the .pc file's own folder up to the prefix: LIBDIR may be lib, lib64 or lib/x86_64-linux-gnu.
file(RELATIVE_PATH COZAD_PC_UP "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
string(REGEX REPLACE "/$" "" COZAD_PC_UP "${COZAD_PC_UP}")
configure_file(${PROJECT_SOURCE_DIR}/cmake/cozad.pc.in ${PROJECT_BINARY_DIR}/cozad.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/cozad.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

if(TARGET cozad_cli)
  file(RELATIVE_PATH COZAD_BIN_TO_LIB "/${CMAKE_INSTALL_BINDIR}" "/${CMAKE_INSTALL_LIBDIR}")
  set_target_properties(cozad_cli PROPERTIES INSTALL_RPATH "$ORIGIN/${COZAD_BIN_TO_LIB}")
  install(TARGETS cozad_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

file(GLOB COZAD_MAN_PAGES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/docs/man/*.1)
install(FILES ${COZAD_MAN_PAGES} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${PROJECT_SOURCE_DIR}/completions/cozad.bash
  DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME cozad)
install(FILES ${PROJECT_SOURCE_DIR}/completions/_cozad DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
install(FILES ${PROJECT_SOURCE_DIR}/completions/cozad.fish
  DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)

# Backbone weights for every user of the machine go here; one small backbone comes along (docs/builtin-backbone.md).
install(FILES ${PROJECT_SOURCE_DIR}/share/cozad/builtin.safetensors DESTINATION ${CMAKE_INSTALL_DATADIR}/cozad OPTIONAL)
install(FILES ${PROJECT_SOURCE_DIR}/cmake/share-README.txt DESTINATION ${CMAKE_INSTALL_DATADIR}/cozad RENAME README.txt)
install(FILES ${PROJECT_SOURCE_DIR}/README.md ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES ${PROJECT_SOURCE_DIR}/examples/embed.c ${PROJECT_SOURCE_DIR}/examples/CMakeLists.txt
  DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)

# Units name the program without its folder: systemd finds it below /usr and /usr/local.
if(TARGET cozad_server)
  install(FILES ${PROJECT_SOURCE_DIR}/packaging/cozad.service ${PROJECT_SOURCE_DIR}/packaging/cozad.socket
    DESTINATION lib/systemd/system)
endif()
