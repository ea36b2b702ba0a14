# SPDX-License-Identifier: Apache-2.0
# The fuzz corpora as ordinary tests, with any compiler (label fuzz).
set(fuzz_targets safetensors pth image manifest)
if(EXISTS ${PROJECT_SOURCE_DIR}/src/api/model.c)
  list(APPEND fuzz_targets model)
endif()
foreach(name ${fuzz_targets})
  add_executable(replay_${name} ${PROJECT_SOURCE_DIR}/fuzz/replay.c ${PROJECT_SOURCE_DIR}/fuzz/fuzz_${name}.c)
  target_link_libraries(replay_${name} PRIVATE cozad_internal)
  set_target_properties(replay_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  set(seeds ${PROJECT_SOURCE_DIR}/fuzz/corpora/${name})
  if(name STREQUAL model) # the fixture of format version 1 is a seed too
    list(APPEND seeds ${PROJECT_SOURCE_DIR}/tests/unit/files/model-v1.cozad)
  endif()
  add_test(NAME fuzz/replay_${name} COMMAND replay_${name} ${seeds})
  set_tests_properties(fuzz/replay_${name} PROPERTIES LABELS fuzz TIMEOUT 300)
endforeach()
