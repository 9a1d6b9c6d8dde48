#!/bin/sh
# The rack of the demo container. At its first start it makes the phones of its volume, whose identity is lost,
# with read-back dumps from before (dumps/) and their firmware package (package/). Arguments go to emulated-x5.
set -eu
phones=${RACK_PHONES:-4}
cd /var/lib/rack
if [ ! -f state/rack.json ]; then
    x5-factory package package
    x5-factory rack --state state --dumps dumps --phones "$phones" --lost
fi
exec emulated-x5 --state state --phones "$phones" --hands auto "$@"
