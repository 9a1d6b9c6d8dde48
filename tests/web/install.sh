#!/bin/sh
# Puts the npm packages of the lock file beside the tests, when they are not there or the lock is newer.
set -eu
cd "$(dirname "$0")"
for program in node npm chromium; do
    command -v "$program" >/dev/null || {
        echo "missing: $program (Debian packages nodejs npm chromium fonts-dejavu-core)" >&2
        exit 1
    }
done
[ node_modules/.package-lock.json -nt package-lock.json ] && exit 0
npm ci --no-audit --no-fund --loglevel=error
touch node_modules/.package-lock.json
