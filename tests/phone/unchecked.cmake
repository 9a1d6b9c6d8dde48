# A station that takes every recipe, for tests of what stands behind the check; see unchecked.c. Never installed.
add_executable(flashrackd-unchecked ${CMAKE_SOURCE_DIR}/server/daemon/main.c
    ${CMAKE_CURRENT_LIST_DIR}/unchecked.c)
set_target_properties(flashrackd-unchecked PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
target_link_libraries(flashrackd-unchecked PRIVATE fr_server_daemon)
