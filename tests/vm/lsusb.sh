#!/bin/bash
# The descriptors as lsusb reads them from the kernel, in boot ROM and fastboot; cdc_acm binds the boot ROM.
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/vm/phone.sh
. "$(dirname "$0")/phone.sh"

acm_bound() { compgen -G '/sys/bus/usb/drivers/cdc_acm/*:1.*' >/dev/null; }

make_phone
rack_options+=(--set brom_window_ms=120000) # lsusb is slow here
phone_on_bench
into_brom
expect 0 'bcdUSB +(1\.10|2\.00)' lsusb -v -d "$BROM_ID"
grep -Eq 'bInterfaceClass +2 ' <<<"$output" || fail "the boot ROM has no CDC interface"
grep -Eq 'bInterfaceClass +10 ' <<<"$output" || fail "the boot ROM has no CDC data interface"
wait_for 10 acm_bound
order unplug >/dev/null
wait_for 30 eval '! usb_has "$BROM_ID"'

into_fastboot
expect 0 "iSerial +[0-9]+ $serial" lsusb -v -d "$FASTBOOT_ID"
grep -Eq 'bInterfaceClass +255 ' <<<"$output" || fail "fastboot's interface class is not ff"
grep -Eq 'bInterfaceSubClass +66 ' <<<"$output" || fail "fastboot's subclass is not 42h"
grep -Eq 'bInterfaceProtocol +3 ' <<<"$output" || fail "fastboot's protocol is not 3"
grep -Eq 'wMaxPacketSize +0x0200' <<<"$output" || fail "not a high-speed bulk pair"
say "ok"
