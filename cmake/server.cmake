# SPDX-License-Identifier: Apache-2.0
# `cozad serve`: tools/server/ as a static library that the program and its tests link. Without its libraries the program is built
# without it, and says so.
pkg_check_modules(MICROHTTPD IMPORTED_TARGET libmicrohttpd>=0.9.75)
pkg_check_modules(SQLITE3 IMPORTED_TARGET sqlite3)
pkg_check_modules(MOSQUITTO IMPORTED_TARGET libmosquitto)
set(COZAD_SERVER_DIR ${PROJECT_SOURCE_DIR}/tools/server)
if(TARGET cozad_cli)
  target_include_directories(cozad_cli PRIVATE ${PROJECT_SOURCE_DIR}/tools) # for "server/server.h", which the verb includes
endif()
if(NOT MICROHTTPD_FOUND OR NOT SQLITE3_FOUND OR NOT CURL_FOUND)
  message(STATUS "cozad serve is left out: it needs libmicrohttpd, sqlite3 and libcurl")
  if(TARGET cozad_cli)
    target_sources(cozad_cli PRIVATE ${COZAD_SERVER_DIR}/clock.c) # the defaults that --help shows
  endif()
  return()
endif()

file(GLOB COZAD_SERVER_SOURCES CONFIGURE_DEPENDS ${COZAD_SERVER_DIR}/*.c)
file(GLOB_RECURSE COZAD_SERVER_WEB CONFIGURE_DEPENDS ${COZAD_SERVER_DIR}/web/*)
# The page's files, as arrays.
set(COZAD_SERVER_ASSETS ${PROJECT_BINARY_DIR}/server_assets.c)
add_custom_command(OUTPUT ${COZAD_SERVER_ASSETS}
  COMMAND ${CMAKE_COMMAND} -DOUT=${COZAD_SERVER_ASSETS} -DWEB=${COZAD_SERVER_DIR}/web -P ${COZAD_SERVER_DIR}/embed.cmake
  DEPENDS ${COZAD_SERVER_DIR}/embed.cmake ${COZAD_SERVER_WEB} VERBATIM)

add_library(cozad_server STATIC ${COZAD_SERVER_SOURCES} ${COZAD_SERVER_ASSETS})
target_include_directories(cozad_server PRIVATE ${COZAD_SERVER_DIR})
target_link_libraries(cozad_server PUBLIC cozad cozad_flags PkgConfig::JANSSON Threads::Threads m
  PRIVATE PkgConfig::MICROHTTPD PkgConfig::SQLITE3 PkgConfig::CURL)
if(MOSQUITTO_FOUND)
  target_link_libraries(cozad_server PRIVATE PkgConfig::MOSQUITTO)
  target_compile_definitions(cozad_server PRIVATE COZAD_WITH_MQTT)
endif()

if(TARGET cozad_cli)
  target_link_libraries(cozad_cli PRIVATE cozad_server)
  target_compile_definitions(cozad_cli PRIVATE COZAD_WITH_SERVER)
endif()
