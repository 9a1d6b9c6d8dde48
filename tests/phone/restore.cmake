# Each case is a test of its own, so that they run side by side: most of their time is waiting for restarts.
# LeakSanitizer's search at the end of a process takes as long as a short job, and a test has ten processes: leaks 1 where
# whole jobs run, 0 in the scripts that look at other things. The quarantine is small everywhere.
function(phone_cases script leaks)
    set(path ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/${script})
    file(STRINGS ${path} lines REGEX "^class |    def test_")
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${path})
    set(class "")
    foreach(line ${lines})
        if(line MATCHES "^class ([A-Za-z]+)")
            set(class ${CMAKE_MATCH_1})
        elseif(line MATCHES "def (test_[a-z0-9_]+)")
            set(case ${class}.${CMAKE_MATCH_1})
            string(REPLACE "test_" "" short ${CMAKE_MATCH_1})
            add_test(NAME phone/${class}.${short} COMMAND /usr/bin/python3 ${path} ${case})
            set_tests_properties(phone/${class}.${short} PROPERTIES LABELS phone TIMEOUT 400
                ENVIRONMENT "FLASHRACK_BUILD=${CMAKE_BINARY_DIR};ASAN_OPTIONS=quarantine_size_mb=4:detect_leaks=${leaks}")
        endif()
    endforeach()
endfunction()

phone_cases(restore_test.py 1)
phone_cases(resume_test.py 1)
phone_cases(identity_test.py 1)
phone_cases(recipes_test.py 1)
phone_cases(station_test.py 0)
phone_cases(schedule_test.py 0)
