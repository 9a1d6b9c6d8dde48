#!/bin/bash
# The shipped udev rule, under a real udevd: a phone's node belongs to the station's group, other programs are told
# to keep off; a root hub's does not.
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/vm/phone.sh
. "$(dirname "$0")/phone.sh"

rule=$(dirname "$0")/../../server/dist/61-flashrack.rules
udevd=/lib/systemd/systemd-udevd

node_of() { # sysfs name
    printf '/dev/bus/usb/%03d/%03d' "$(<"/sys/bus/usb/devices/$1/busnum")" "$(<"/sys/bus/usb/devices/$1/devnum")"
}
owner_is() { # node owner
    [ "$(stat -c '%U:%G %a' "$1")" = "$2" ]
}

echo 'flashrack:x:64123:' >>/etc/group # in the guest's own copy
mkdir -p /run/udev/rules.d
cp "$rule" /run/udev/rules.d/
"$udevd" --daemon
wait_for 30 udevadm control --ping

make_phone
phone_on_bench
into_fastboot
node=$(node_of "$(usb_device "$FASTBOOT_ID")")
wait_for 20 owner_is "$node" 'root:flashrack 660'
expect 0 'ID_MM_DEVICE_IGNORE=1' udevadm info --query=property --name="$node"
says 'MTP_NO_PROBE=1' || fail "mtp-probe is not told to keep off"
says 'ID_PATH=platform-vhci_hcd\.0-usb-0:1$' || fail "not the port id that we compute ourselves"
[ "$(<"/sys/bus/usb/devices/$(usb_device "$FASTBOOT_ID")/power/control")" = on ] || fail "the phone may be suspended"
owner_is "$(node_of usb1)" 'root:flashrack 660' && fail "the rule takes devices that are no phones"
udevadm control --exit
say "ok"
