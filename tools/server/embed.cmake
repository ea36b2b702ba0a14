# SPDX-License-Identifier: Apache-2.0
# cmake -DOUT=FILE.c -DWEB=DIR -P embed.cmake: the files of the web page as C, sv_assets of assets.h.
# A file of a type that is not named below is left out with a warning.
cmake_minimum_required(VERSION 3.18)
if(NOT DEFINED OUT OR NOT IS_DIRECTORY "${WEB}")
  message(FATAL_ERROR "usage: cmake -DOUT=FILE.c -DWEB=DIR -P embed.cmake")
endif()

set(type_html "text/html; charset=utf-8")
set(type_css "text/css; charset=utf-8")
set(type_js "text/javascript; charset=utf-8")
set(type_json "application/json")
set(type_svg "image/svg+xml")
set(type_png "image/png")

get_filename_component(WEB "${WEB}" ABSOLUTE)
file(GLOB_RECURSE names RELATIVE "${WEB}" "${WEB}/*")
list(SORT names)
set(data "")
set(table "")
set(count 0)
foreach(name IN LISTS names)
  string(REGEX MATCH "[a-z]+$" extension "${name}")
  if(NOT DEFINED type_${extension} OR NOT name MATCHES "^[A-Za-z0-9][A-Za-z0-9_/.-]*$")
    message(WARNING "${name} is no part of the web page: left out")
    continue()
  endif()
  file(READ "${WEB}/${name}" bytes HEX)
  if(bytes STREQUAL "")
    message(FATAL_ERROR "${WEB}/${name} is empty")
  endif()
  file(SHA256 "${WEB}/${name}" digest)
  string(SUBSTRING "${digest}" 0 16 digest)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
  string(APPEND data "static const unsigned char asset_${count}[] = {${bytes}};\n")
  string(APPEND table "    {\"/${name}\", \"${type_${extension}}\", asset_${count}, sizeof asset_${count}, "
                      "\"\\\"${digest}\\\"\"},\n")
  math(EXPR count "${count} + 1")
endforeach()
if(count EQUAL 0)
  message(FATAL_ERROR "no web page below ${WEB}")
endif()

file(WRITE "${OUT}"
     "/* SPDX-License-Identifier: Apache-2.0 */\n"
     "/* Made by embed.cmake. */\n"
     "#include \"assets.h\"\n\n"
     "${data}\n"
     "const sv_asset sv_assets[] = {\n${table}};\n"
     "const size_t sv_asset_count = ${count};\n")
