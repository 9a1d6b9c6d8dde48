#!/bin/bash
# Exits 0 if the station answers /healthz with 200. Needs only bash.
set -euo pipefail
exec 3<>"/dev/tcp/127.0.0.1/${FLASHRACK_PORT:-8080}"
printf 'GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
read -r _ status _ <&3
[ "$status" = 200 ]
