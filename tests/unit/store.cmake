unit_test(spool DEPS usb/wire usb/archive)
unit_test(store_jobs DEPS server/store)
unit_test(store_phones DEPS server/store)
unit_test(store_backups DEPS server/store usb/wire usb/archive)
unit_test(store_files DEPS server/store usb/wire usb/archive)
unit_test(store_copy DEPS server/store usb/wire usb/archive)
unit_test(store_load DEPS server/store)
set_tests_properties(unit/store_load PROPERTIES TIMEOUT 300) # many rows on a busy machine
