#!/bin/sh
# x5_dump.sh OUT.img SERIAL: a read-back dump of the mini layout made by real programs (sgdisk, mke2fs), with
# a file system or stand-in in each identity partition. usb/format/README.md, "Fixture layout".
set -eu
img=$1
serial=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# name KiB align-to-8-MiB
common='boot_para 1024 0
para 512 0
expdb 1024 0
frp 1024 0
nvcfg 8192 0
nvdata 16384 0
md_udc 616 0
metadata 1024 0
protect1 8192 0
protect2 8192 0
seccfg 8192 1
persist 8192 1
sec1 2048 1
proinfo 3072 0
nvram 5120 0
elabel 1024 0
box 8192 0
sutinfo 1024 0'
slotted='logo 8192 0
md1img 1024 0
spmfw 1024 0
scp 1024 0
sspm 1024 0
cam_vpu1 1024 0
cam_vpu2 1024 0
cam_vpu3 1024 0
gz 1024 0
lk 1024 0
boot 4096 0
odmdtbo 1024 0
tee 5120 0
vbmeta 64 0
cda 1024 0
systeminfo 1024 0
vendor 8192 1
system 16384 1'
{
    echo "$common"
    for slot in a b; do echo "$slotted" | sed "s/ /_$slot /"; done
    echo 'userdata 0 1'
} | awk -v total=655360 '
    { name[NR] = $1; size[NR] = $2 * 2; align[NR] = $3 }
    END {
        at = 64; flashinfo = total - 33 - 2048; otp = flashinfo - 2048
        for (i = 1; i <= NR; i++) {
            if (align[i] && at % 16384) { gap = 16384 - at % 16384; size[i-1] += gap; at += gap }
            if (name[i] == "userdata") size[i] = otp - at
            start[i] = at; at += size[i]
        }
        name[NR+1] = "otp"; start[NR+1] = otp; size[NR+1] = 2048
        name[NR+2] = "flashinfo"; start[NR+2] = flashinfo; size[NR+2] = 2048
        for (i = 1; i <= NR + 2; i++) print i, name[i], start[i], start[i] + size[i] - 1
    }' >"$work/table"

rm -f "$img"
truncate -s 335544320 "$img"
sgdisk -a 1 -o -U 5A5A0000-0000-4000-8000-000000000000 "$img" >/dev/null
set --
while read -r i name first last; do
    set -- "$@" -n "$i:$first:$last" -t "$i:0700" -c "$i:$name" \
        -u "$i:$(printf '5A5A0000-0000-4000-8000-%012X' "$i")"
done <"$work/table"
sgdisk -a 1 "$@" "$img" >/dev/null
sgdisk -v "$img" | grep -q 'No problems found'

put() { # NAME FILE
    first=$(awk -v n="$1" '$2 == n { print $3 }' "$work/table")
    dd if="$2" of="$img" bs=512 seek="$first" conv=notrunc,sparse status=none
}
for name in nvcfg nvdata protect1 protect2 persist; do
    kib=$(awk -v n="$name" '$2 == n { print ($4 - $3 + 1) / 2 }' "$work/table")
    mkdir -p "$work/root"
    printf '%s for %s\n' "$name" "$serial" >"$work/root/marker.txt"
    rm -f "$work/fs"
    truncate -s "${kib}K" "$work/fs"
    mke2fs -q -F -t ext4 -b 4096 -L "$name" -d "$work/root" "$work/fs" "${kib}k"
    put "$name" "$work/fs"
done
printf '%s' "$serial" >"$work/proinfo"
put proinfo "$work/proinfo"
{ # u32 0, content size, 0, checksum (none); the path strings; filler from the serial
    printf '\0\0\0\0\0\0\100\0\0\0\0\0\0\0\0\0'
    printf 'APCFG/APRDEB/WIFI\0APCFG/APRDEB/BT_Addr\0md/NVRAM/NVD_IMEI/LD0B_001\0'
    awk -v s="$serial" 'BEGIN { x = 7; a = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        for (i = 1; i <= length(s); i++) x = (x * 31 + index(a, substr(s, i, 1))) % 2147483647
        for (i = 0; i < 200000; i++) { x = (x * 48271) % 2147483647; printf "%08x", x } }'
} >"$work/nvram"
put nvram "$work/nvram"
printf 'ELABEL-STANDIN' >"$work/elabel"
put elabel "$work/elabel"
