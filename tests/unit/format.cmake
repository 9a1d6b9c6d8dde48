unit_test(gpt DEPS usb/format)
