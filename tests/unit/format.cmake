unit_test(gpt DEPS usb/format)
unit_test(numbers DEPS usb/format)
unit_test(containers DEPS usb/format)
unit_test(sparse DEPS usb/format)
unit_test(scatter DEPS usb/format)
target_compile_definitions(test_scatter PRIVATE SAMPLES="${CMAKE_CURRENT_SOURCE_DIR}/samples")
unit_test(identity DEPS usb/format)
unit_test(dumps DEPS usb/format)
unit_test(exported DEPS usb/worker usb/format usb/base)
unit_test(archives DEPS usb/archive)
unit_test(packages DEPS usb/format)

# The same work done by 7z, sgdisk, simg2img and others: tests/packages.txt.
add_executable(sparse_tool sparse_tool.c)
target_link_libraries(sparse_tool PRIVATE house fr_usb_format)
add_test(NAME unit/real_tools
    COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/real_tools.sh $<TARGET_FILE:flashrack> $<TARGET_FILE:sparse_tool>)
set_tests_properties(unit/real_tools PROPERTIES LABELS unit COST 60 TIMEOUT 300)

add_test(NAME unit/cli
    COMMAND /usr/bin/python3 ${CMAKE_CURRENT_SOURCE_DIR}/cli.py $<TARGET_FILE:flashrack>
            ${CMAKE_CURRENT_SOURCE_DIR}/samples)
set_tests_properties(unit/cli PROPERTIES LABELS unit TIMEOUT 400)
