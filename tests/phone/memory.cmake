add_test(NAME release/worker_memory COMMAND /usr/bin/python3 ${CMAKE_CURRENT_LIST_DIR}/memory_test.py)
set_tests_properties(release/worker_memory PROPERTIES LABELS release TIMEOUT 500
    ENVIRONMENT FLASHRACK_BUILD=${CMAKE_BINARY_DIR})
