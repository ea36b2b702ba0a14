# SPDX-License-Identifier: Apache-2.0
# The tests that are no cmocka programs: checks of the sources (label check) and of the command line (label cli).
# A script that ends with 77 has nothing to work on here and is shown as skipped; it says why.
# Threads that sleep instead of spinning: tests share the machine with other work.
set(environment "COZAD_TEST_DATA=${COZAD_TEST_DATA}" "COZAD_BUILD_DIR=${PROJECT_BINARY_DIR}" "OMP_WAIT_POLICY=passive")

function(cozad_check name)
  add_test(NAME check/${name} COMMAND bash ${PROJECT_SOURCE_DIR}/scripts/check-${name} ${ARGN})
  set_tests_properties(check/${name} PROPERTIES LABELS check TIMEOUT 120 SKIP_RETURN_CODE 77 ENVIRONMENT "${environment}")
endfunction()

cozad_check(format)
cozad_check(layers)
cozad_check(headers)
if(NOT COZAD_SANITIZE AND NOT COZAD_FUZZ)
  cozad_check(exports $<TARGET_FILE:cozad>) # the sanitizers export symbols of their own
endif()

if(TARGET cozad_cli)
  cozad_check(man $<TARGET_FILE:cozad_cli>)
  file(GLOB scripts CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/cli/test_*.sh)
  foreach(script ${scripts})
    get_filename_component(name ${script} NAME_WE)
    # A program built without the sanitizers cannot link to a library built with them.
    if(name STREQUAL test_install AND COZAD_SANITIZE)
      continue()
    endif()
    add_test(NAME cli/${name} COMMAND bash ${script} $<TARGET_FILE:cozad_cli>)
    set_tests_properties(cli/${name} PROPERTIES LABELS cli TIMEOUT 900 SKIP_RETURN_CODE 77 ENVIRONMENT "${environment}")
  endforeach()
endif()

# Needs python3-torch; scripts/test --slow runs it.
if(TARGET cozad_cli)
  add_test(NAME slow/pth_formats COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/parity/check_pth_formats.sh $<TARGET_FILE:cozad_cli>)
  set_tests_properties(slow/pth_formats PROPERTIES LABELS slow TIMEOUT 1800 SKIP_RETURN_CODE 77 ENVIRONMENT "${environment}")
endif()

include(${CMAKE_CURRENT_SOURCE_DIR}/fuzz.cmake OPTIONAL)
