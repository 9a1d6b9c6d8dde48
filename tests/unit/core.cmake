unit_test(wire DEPS usb/wire)
