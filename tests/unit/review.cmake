unit_test(gate DEPS usb/recipe)
unit_test(portwatch DEPS usb/portwatch)
if(NOT FLASHRACK_SANITIZE) # sanitizers do not live with seccomp
    unit_test(sandbox DEPS usb/sandbox)
endif()
