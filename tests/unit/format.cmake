unit_test(gpt DEPS usb/format)
unit_test(numbers DEPS usb/format)
unit_test(containers DEPS usb/format)
