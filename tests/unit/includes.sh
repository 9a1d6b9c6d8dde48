#!/bin/bash
# No include climbs: a folder includes headers of itself and of the folders that the module map (README.md) names
# for it, and only one folder a library. Usage: includes.sh CHECKOUT
set -u
cd "$1" || exit 2
bad=0
# folder: folders it may include (itself and usb/base always)
declare -A may=(
    [usb/base]="" [usb/format]="" [usb/codec]="" [usb/plan]="usb/format"
    [usb/transport]="usb/codec" [usb/proto]="usb/codec usb/transport" [usb/archive]=""
    [usb/recipe]="usb/plan usb/proto usb/codec usb/format usb/transport usb/archive"
    [usb/sandbox]="" [usb/wire]=""
    [usb/worker]="usb/recipe usb/plan usb/wire usb/transport usb/sandbox usb/archive usb/format usb/proto usb/codec"
    [usb/portwatch]="usb/wire usb/transport usb/codec usb/sandbox"
    [server/store]="usb/archive usb/wire" [server/workers]="usb/wire"
    [server/station]="server/store server/workers usb/wire usb/plan usb/format"
    [server/http]="" [server/api]="server/station server/http server/store usb/format usb/plan"
    [server/cli]="usb/format usb/plan usb/archive" [server/daemon]="server/api server/http server/station server/store"
)
rules=$(for folder in "${!may[@]}"; do echo "$folder ${may[$folder]}"; done)
# one pass over all files: folder of the file, folder of the header
climbs=$(grep -nH '^#include "' usb/*/*.[ch] server/*/*.[ch] | awk -F: -v rules="$rules" '
    BEGIN {
        count = split(rules, lines, "\n")
        for (i = 1; i <= count; i++) {
            n = split(lines[i], words, " ")
            known[words[1]] = 1
            for (k = 2; k <= n; k++) ok[words[1] " " words[k]] = 1
        }
    }
    {
        folder = $1; sub(/\/[^\/]*$/, "", folder)
        header = $0; sub(/^[^"]*"/, "", header); sub(/".*/, "", header)
        from = header
        if (!sub(/\/[^\/]*$/, "", from)) next
        if (!(folder in known)) { print folder ": is in no rule of this test"; next }
        if (from != folder && from != "usb/base" && !((folder " " from) in ok))
            print $1 ":" $2 ": " folder " must not include " header
    }' | sort -u)
if [ -n "$climbs" ]; then
    echo "$climbs"
    bad=1
fi
# a library belongs to one folder (others reach it through that folder's functions)
only() { # pattern folders...
    local pattern=$1 file
    shift
    while read -r file; do
        [[ " $* " == *" $(dirname "$file") "* ]] || { echo "$file: includes <$pattern>"; bad=1; }
    done < <(grep -lE "^#include <$pattern" usb/*/*.[ch] server/*/*.[ch])
}
only 'libusb' usb/transport
only 'sqlite3' server/store
only 'archive' usb/archive
only 'zstd' usb/archive
only 'seccomp' usb/sandbox
only 'event2/(http|bufferevent_ssl)' server/http server/cli
exit $bad
