#!/bin/bash
# real_tools.sh FLASHRACK SPARSE_TOOL: our results on real files must equal those of 7z, sgdisk, simg2img,
# img2simg, md5sum, sha256sum and dd. Packages: tests/packages.txt.
set -euo pipefail
flashrack=$1
sparse_tool=$2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
failed=0

check() { # NAME COMMAND...: must succeed
    local name=$1
    shift
    if "$@" >out.txt 2>&1; then
        echo "ok   $name"
    else
        echo "FAIL $name"
        sed 's/^/     /' out.txt
        failed=1
    fi
}
refused() { # NAME TEXT COMMAND...: must exit 1 and say TEXT on stderr
    local name=$1 text=$2 status=0
    shift 2
    "$@" >/dev/null 2>err.txt || status=$?
    if [ "$status" = 1 ] && grep -qF -- "$text" err.txt; then
        echo "ok   $name"
    else
        echo "FAIL $name: exit $status"
        sed 's/^/     /' err.txt
        failed=1
    fi
}
json() { # FILE EXPRESSION with d
    /usr/bin/python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); sys.exit(not eval(sys.argv[2]))' "$1" "$2"
}

# ---- dumps ----
serial=PDAGATEST0000001
sh "$here/x5_dump.sh" good.img "$serial"

identity=nvcfg,nvdata,protect1,protect2,persist,proinfo,nvram,elabel
check "extract" "$flashrack" dump extract good.img -o out --only $identity
check "SHA256SUMS fits" bash -c 'cd out && sha256sum --strict --check SHA256SUMS'
check "nothing but images and sums" test "$(ls out | tr '\n' ' ')" = \
    "SHA256SUMS elabel.img nvcfg.img nvdata.img nvram.img persist.img proinfo.img protect1.img protect2.img "
mkdir 7z
check "7z extracts" 7z x -bso0 -o7z good.img '-ir!*nv*' '-ir!*pro*' '-ir!*persist*' '-ir!*elabel*'
for name in ${identity//,/ }; do
    check "7z's $name is the same" bash -c "cmp out/$name.img 7z/*$name.img"
done
check "whole file systems" e2fsck -fn out/nvcfg.img
# sums that do not depend on a UUID or the time: usb/format/README.md, "Fixture layout"
check "published sums" sha256sum --check - <<SUMS
153449843d865b5d39ee6a6c8511496595409161057e1169a365f0565aada312  out/proinfo.img
a743aab755fff282da2564dbdbc79043890e2bf8eb321c3e664bb555bcb439fc  out/nvram.img
ac3078dd51d458df02ba903aa95d0909ca5b79175afa0847b7d5aee7ad27215f  out/elabel.img
SUMS

"$flashrack" dump list good.img --json >list.json
sgdisk -p good.img | awk '/^ *[0-9]+ / { print $1, $2, $3, $NF }' >sgdisk.txt
check "sgdisk's table is the same" /usr/bin/python3 - <<'PY'
import json
d = json.load(open("list.json"))
ours = [(p["number"], p["first_lba"], p["last_lba"], p["name"]) for p in d["partitions"]]
theirs = [(int(a), int(b), int(c), n) for a, b, c, n in (l.split() for l in open("sgdisk.txt"))]
assert ours == theirs and len(ours) == 57, (ours[:3], theirs[:3])
PY
check "the set is usable" json list.json 'd["identity"]["verdict"] == "usable" and d["identity"]["serial"] == "PDAGATEST0000001"'

cp --sparse=always good.img flipped.img
printf x | dd of=flipped.img bs=1 seek=1100 conv=notrunc status=none
"$flashrack" dump list flipped.img --json >flipped.json
check "flipped primary table: backup" json flipped.json 'd["table"] == "backup" and len(d["partitions"]) == 57 and d["warnings"]'
truncate -s 200M flipped.img
refused "no table left" "scatter file can be used" "$flashrack" dump list flipped.img
cp --sparse=always good.img cut.img
truncate -s 70M cut.img
"$flashrack" dump list cut.img --json >cut.json
check "cut dump: what is whole" json cut.json \
    '[p["name"] for p in d["partitions"] if not p["complete"]][0] == "nvram" and d["identity"]["verdict"] == "incomplete"'
refused "cut dump: nvram is not given" "ends before the end of nvram" \
    "$flashrack" dump extract cut.img -o cut --only proinfo,nvram
check "nothing is left of it" test -z "$(ls cut)"
check "proinfo alone is" "$flashrack" dump extract cut.img -o cut --only proinfo

for entries in 12 32 64; do
    truncate -s 4M "gpt$entries.img"
    sgdisk -S $entries -a 1 -n 1:64:127 -c 1:proinfo -n 2:128:255 -c 2:nvram "gpt$entries.img" >/dev/null
    "$flashrack" dump list "gpt$entries.img" --json >small.json
    check "sgdisk's table of $entries entries" json small.json \
        'd["table"] == "primary" and [(p["name"], p["first_lba"], p["last_lba"]) for p in d["partitions"]] == [("proinfo", 64, 127), ("nvram", 128, 255)]'
    printf x | dd of="gpt$entries.img" bs=1 seek=530 conv=notrunc status=none
    "$flashrack" dump list "gpt$entries.img" --json >small.json
    check "and its copy" json small.json 'd["table"] == "backup" and len(d["partitions"]) == 2'
done

mkdir folder
cp 7z/*.img folder/
"$flashrack" dump list folder --json >folder.json
check "a folder of 7z's files" json folder.json 'd["table"] == "folder" and d["identity"]["verdict"] == "usable"'
zstd -q -o good.img.zst good.img
gzip -1 -c good.img >good.img.gz
7z a -bso0 -mx=1 good.7z good.img
7z a -bso0 -mx=1 good.zip good.img
for packed in good.img.zst good.img.gz good.7z good.zip; do
    check "extract from $packed" "$flashrack" dump extract "$packed" -o "out-$packed" --only $identity
    check "the same as from the file" cmp out/SHA256SUMS "out-$packed/SHA256SUMS"
done
# images that somebody extracted and packed again
(cd 7z && 7z a -bso0 -ms=on -mx=1 ../images.7z . && 7z a -bso0 -mx=1 ../images.zip . && tar cf ../images.tar .)
for packed in images.7z images.zip images.tar; do
    "$flashrack" dump list $packed --json >images.json
    check "$packed: as the folder" /usr/bin/python3 - <<'PY'
import json
ours, folder = ({p["name"]: (p["number"], p["size"], p["plausible"], p["reason"]) for p in json.load(open(name))["partitions"]}
                for name in ("images.json", "folder.json"))
assert ours == folder and len(ours) == 8, (ours, folder)
PY
    check "extract from $packed" "$flashrack" dump extract $packed -o "out-$packed" --only $identity
    check "the same images" bash -c "cd out-$packed && sha256sum --quiet --check ../out/SHA256SUMS"
done
mkdir again
cp 7z/*proinfo.img again/proinfo.img
(cd again && 7z a -bso0 ../images.zip proinfo.img)
refused "two files of one partition" "two files for 'proinfo'" "$flashrack" dump list images.zip
7z a -bso0 -ms=on -mx=3 solid.7z out/*.img good.img
check "a solid .7z with other files in front" "$flashrack" dump list solid.7z
head -c 500000 good.img.gz >cut.gz
refused "a cut archive" "ends before the end of nvram" "$flashrack" dump extract cut.gz -o cutgz --only nvram
{ zstd -q -1 -c good.img || true; } | head -c 500000 >cut.zst # whose end nobody reads: the packer may say so
{ xz -0 -c good.img || true; } | head -c 500000 >cut.xz
for packed in cut.gz cut.zst cut.xz; do
    "$flashrack" dump list $packed --json >cut.json
    check "$packed: what is whole" json cut.json '(d["partitions"][0]["complete"] and not d["partitions"][-1]["complete"] and
        any("cut off" in w for w in d["warnings"]) and d["identity"]["verdict"] == "incomplete")'
    check "$packed: and it is extracted" "$flashrack" dump extract $packed -o "whole-$packed"
    check "nothing else" bash -c "cmp whole-$packed/nvcfg.img out/nvcfg.img && [ ! -e whole-$packed/userdata.img ]"
done
7z a -bso0 -pSecret secret.7z out/proinfo.img
refused "a password" "password" "$flashrack" dump list secret.7z
7z a -bso0 -pSecret -mhe=on hidden.7z out/proinfo.img
refused "a password on the names, too" "password" "$flashrack" dump list hidden.7z

# ---- serials ----
for s in PDAGATEST0000001 PDAXYZ12A3456789; do
    want=$(printf %s "$s" | md5sum | cut -d' ' -f1 | tr a-f A-F)
    check "dm-verity code of $s" bash -c "\"$flashrack\" serial $s | grep -qx 'dm-verity code  $want'"
done
refused "an IMEI" "This is an IMEI" "$flashrack" serial 490154203237518

# ---- sparse images ----
truncate -s 8M raw.img
mke2fs -q -F -t ext4 -b 4096 raw.img 8M
head -c 3000000 /dev/urandom | dd of=raw.img bs=4096 seek=900 conv=notrunc status=none
img2simg raw.img debian.simg 4096
check "img2simg's image unfolds to the same" bash -c "\"$sparse_tool\" expand debian.simg ours.img && cmp raw.img ours.img"
"$sparse_tool" pieces raw.img 0x100000 piece
check "no piece is too large" bash -c 'for p in piece.*; do [ "$(stat -c %s "$p")" -le 1048576 ] || exit 1; done'
check "simg2img puts our pieces together" bash -c \
    'simg2img $(ls piece.* | sort -t. -k2 -n) joined.img && cmp raw.img joined.img'
"$sparse_tool" pieces raw.img 0x8000000 whole
check "one piece when it fits" bash -c '[ "$(ls whole.* | wc -l)" = 1 ] && simg2img whole.0 w.img && cmp raw.img w.img'
simg2simg debian.simg theirs 1048576
check "libsparse's own pieces are read" bash -c 'for p in theirs.*; do "$0" expand "$p" t.img || exit 1; done' "$sparse_tool"

# ---- unpacking ----
mkdir -p package/images
cp out/proinfo.img package/
cp debian.simg package/images/system.img
echo read me >package/固件说明.txt
(cd package && 7z a -bso0 ../p.7z . && 7z a -bso0 ../p.zip . && tar cf ../p.tar . && tar cJf ../p.tar.xz .)
for packed in p.7z p.zip p.tar p.tar.xz; do
    check "unpack $packed" "$flashrack" firmware unpack "$packed" -o "un-$packed"
    check "the same files" diff -r package "un-$packed"
done
exit $failed
