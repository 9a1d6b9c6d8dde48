#!/bin/bash
# Debian's usbip tool attaches an emulated phone over TCP; the kernel and fastboot see it; detached, it is gone.
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/vm/phone.sh
. "$(dirname "$0")/phone.sh"

gone() { ! usb_has "$FASTBOOT_ID"; }

make_phone
rack_options=(--hands none --listen 127.0.0.1:3240 --profile tiny --hands-speed 10)
phone_on_bench
# Nothing attaches by itself here: being on the bus means being exported.
order hold '"keys":["vol_down"]' >/dev/null
order power_long >/dev/null
order plug >/dev/null
exported() { [[ $(usbip list --remote 127.0.0.1) == *"$phone:"*"$FASTBOOT_ID"* ]]; }
wait_for 60 exported
expect 0 '' usbip list --remote 127.0.0.1
output_is usbip-list
expect !0 '' usbip attach --remote 127.0.0.1 --busid 1-9
output_is usbip-attach-unknown
expect 0 '^$' usbip attach --remote 127.0.0.1 --busid "$phone"
wait_for 30 usb_has "$FASTBOOT_ID"
expect 0 '' usbip port
output_is usbip-port
expect !0 '' usbip attach --remote 127.0.0.1 --busid "$phone"
output_is usbip-attach-twice
expect 0 "^${serial}[[:space:]]+fastboot" timeout 60 fastboot devices
expect 0 "serialno: *$serial" timeout 60 fastboot getvar serialno
expect 0 '' usbip detach --port 0
output_is usbip-detach
wait_for 30 gone
expect 0 '' usbip port
output_is usbip-port-none
say "ok"
