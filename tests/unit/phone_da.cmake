# Firmware of the emulated phone's download path, on a double of its hardware.
unit_test(phone_replay LABEL transcript DEPS tests/phone tests/transcript usb/format usb/codec usb/base)
target_sources(test_phone_replay PRIVATE fake_board.c phone_host.c)
unit_test(phone_rom LABEL phone DEPS tests/phone usb/format usb/codec usb/base)
target_sources(test_phone_rom PRIVATE fake_board.c phone_host.c)
unit_test(phone_agent LABEL phone DEPS tests/phone usb/format usb/codec usb/base)
target_sources(test_phone_agent PRIVATE fake_board.c phone_host.c)

# The station's conversations with the whole phone.
unit_test(phone_station LABEL phone DEPS tests/phone usb/proto usb/transport usb/format usb/codec usb/base)
target_sources(test_phone_station PRIVATE phone_bench.c)
set_tests_properties(phone/phone_station PROPERTIES TIMEOUT 240)
unit_test(phone_matrix LABEL phone DEPS tests/phone usb/proto usb/transport usb/format usb/codec usb/base)
target_sources(test_phone_matrix PRIVATE phone_bench.c)
set_tests_properties(phone/phone_matrix PROPERTIES COST 50 TIMEOUT 240)
unit_test(phone_target LABEL phone DEPS tests/phone usb/proto usb/transport usb/format usb/codec usb/base)
target_sources(test_phone_target PRIVATE phone_bench.c)
set_tests_properties(phone/phone_target PROPERTIES TIMEOUT 240)
