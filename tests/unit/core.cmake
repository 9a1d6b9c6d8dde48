unit_test(wire DEPS usb/wire)
add_test(NAME unit/includes COMMAND bash ${CMAKE_SOURCE_DIR}/tests/unit/includes.sh ${CMAKE_SOURCE_DIR})
add_test(NAME unit/gate_alone_writes COMMAND bash ${CMAKE_SOURCE_DIR}/tests/unit/gate.sh ${CMAKE_SOURCE_DIR})
set_tests_properties(unit/includes unit/gate_alone_writes PROPERTIES LABELS unit TIMEOUT 60)
