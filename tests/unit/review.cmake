unit_test(gate DEPS usb/recipe)
unit_test(portwatch DEPS usb/portwatch)
if(NOT FLASHRACK_SANITIZE) # sanitizers do not live with seccomp
    unit_test(sandbox DEPS usb/sandbox)
endif()
unit_test(wire_schema DEPS usb/wire ARGS ${CMAKE_SOURCE_DIR}/schema/wire)
unit_test(recipe_schema DEPS usb/plan
    ARGS ${CMAKE_SOURCE_DIR}/schema/recipes ${CMAKE_CURRENT_SOURCE_DIR}/samples/recipes)
add_test(NAME unit/failure_ids COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/failure_ids.sh ${CMAKE_SOURCE_DIR})
set_tests_properties(unit/failure_ids PROPERTIES LABELS unit TIMEOUT 60)
unit_test(host DEPS usb/worker)
unit_test(workers DEPS server/workers ARGS $<TARGET_FILE:flashrack-worker>)
