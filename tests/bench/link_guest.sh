#!/bin/bash
# `./run bench link_guest`: bench_link over vhci_hcd, usbfs and libusb, in the QEMU guest.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec "$here/../vm/vm.sh" --timeout 1200 -- "$FLASHRACK_BUILD/bench_link" --usbfs
