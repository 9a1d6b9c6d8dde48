unit_test(spool DEPS usb/wire usb/archive)
unit_test(store_jobs DEPS server/store)
unit_test(store_phones DEPS server/store)
unit_test(store_backups DEPS server/store usb/wire usb/archive)
unit_test(store_seal DEPS server/store usb/wire usb/archive)
unit_test(store_retention DEPS server/store usb/wire usb/archive)
unit_test(store_files DEPS server/store usb/wire usb/archive)
unit_test(store_copy DEPS server/store usb/wire usb/archive)
unit_test(store_clock DEPS server/store)
unit_test(store_load DEPS server/store)
set_tests_properties(unit/store_load PROPERTIES TIMEOUT 300) # many rows on a busy machine

# The power goes, the disk is full: a short seeded sample. tests/soak/power.py runs it at length.
unit_test(store_power LABEL release DEPS server/store usb/wire usb/archive)
target_sources(test_store_power PRIVATE ${CMAKE_SOURCE_DIR}/tests/lib/power.c)

add_test(NAME unit/sql_plans COMMAND /usr/bin/python3 ${CMAKE_CURRENT_LIST_DIR}/sql_plans.py ${CMAKE_SOURCE_DIR})
set_tests_properties(unit/sql_plans PROPERTIES LABELS unit TIMEOUT 400)
