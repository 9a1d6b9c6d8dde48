# Firmware of the emulated phone's download path, on a double of its hardware.
unit_test(phone_replay LABEL transcript DEPS tests/phone tests/transcript usb/format usb/codec usb/base)
target_sources(test_phone_replay PRIVATE fake_board.c phone_host.c)
