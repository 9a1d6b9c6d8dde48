unit_test(gate DEPS usb/recipe)
