#!/bin/bash
# Tests with a phone of their own, NAME.sh each, one after another on one boot of the guest. The last one is udev: a
# udevd would slow down the others.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

for name in fastboot usbip lsusb acm udev; do
    echo "---- $name"
    bash "$here/$name.sh" || { echo "FAILED: $name"; exit 1; }
done
