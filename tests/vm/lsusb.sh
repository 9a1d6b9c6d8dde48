#!/bin/bash
# The descriptors of every identity as lsusb reads them from the kernel, word for word, without a complaint. (The
# download agent's own identity shows up in the middle of a job only: faults.py.)
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/vm/phone.sh
. "$(dirname "$0")/phone.sh"

identity() { # name vid:pid
    expect 0 "idVendor +0x${2%:*}" lsusb -v -d "$2"
    lsusb_complains && fail "lsusb complains about $1"
    output_is "lsusb-$1"
    off
    wait_for 30 eval "! usb_has $2"
}

make_phone
rack_options+=(--set preloader_window_ms=600000)
phone_on_bench
into_brom
identity brom "$BROM_ID"
into_preloader
identity preloader "$PRELOADER_ID"
rack_stop

rack_options+=(--set preloader_window_ms=100)
phone_on_bench
into_fastboot
identity fastboot "$FASTBOOT_ID"
into_android
identity android "$ANDROID_ID"
say "ok"
