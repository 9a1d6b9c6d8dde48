#!/bin/bash
# Exits 0 if the station in this container answers /healthz with 200. Needs only bash.
set -euo pipefail
listen=${FLASHRACK_LISTEN:-127.0.0.1:8080}
exec 3<>"/dev/tcp/127.0.0.1/${listen##*:}"
printf 'GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
read -r _ status _ <&3
[ "$status" = 200 ]
