unit_test(proof DEPS server/store server/cli)
unit_test(recipe_check DEPS usb/plan ARGS ${CMAKE_SOURCE_DIR}/schema/recipes)
unit_test(failures DEPS usb/plan ARGS ${CMAKE_SOURCE_DIR}/schema/failures.json)
set_tests_properties(unit/proof PROPERTIES TIMEOUT 300) # many commits to disk on a busy machine
