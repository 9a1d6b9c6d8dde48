#!/bin/bash
# The functions that write to a phone are called by the gate alone (usb/recipe/gate.h). Usage: gate.sh CHECKOUT
set -u
cd "$1" || exit 2
writers='da_write|da_download|da_format|fb_flash|fb_download'
found=$(grep -nE "\b($writers)\(" usb/recipe/*.c usb/worker/*.c usb/portwatch/*.c server/*/*.c |
    grep -v '^usb/recipe/gate.c:')
if [ -n "$found" ]; then
    echo "a writer is called outside the gate:"
    echo "$found"
    exit 1
fi
# and the gate does call them, or this test would prove nothing
grep -qE '\bda_download\(' usb/recipe/gate.c && grep -qE '\bfb_flash\(' usb/recipe/gate.c
