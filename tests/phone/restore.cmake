# Each case is a test of its own, so that they run side by side: most of their time is waiting for restarts.
file(STRINGS ${CMAKE_CURRENT_LIST_DIR}/restore_test.py lines REGEX "^class |    def test_")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/restore_test.py)
set(class "")
foreach(line ${lines})
    if(line MATCHES "^class ([A-Za-z]+)")
        set(class ${CMAKE_MATCH_1})
    elseif(line MATCHES "def (test_[a-z0-9_]+)")
        set(case ${class}.${CMAKE_MATCH_1})
        string(REPLACE "test_" "" short ${CMAKE_MATCH_1})
        add_test(NAME phone/${class}.${short}
            COMMAND /usr/bin/python3 ${CMAKE_CURRENT_LIST_DIR}/restore_test.py ${case})
        set_tests_properties(phone/${class}.${short} PROPERTIES LABELS phone TIMEOUT 200
            ENVIRONMENT FLASHRACK_BUILD=${CMAKE_BINARY_DIR})
    endif()
endforeach()
