unit_test(gate DEPS usb/recipe)
unit_test(portwatch DEPS usb/portwatch)
