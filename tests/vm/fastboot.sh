#!/bin/bash
# Debian's fastboot judges the emulated phone: it lists it, reads all variables, is refused and then allowed to
# flash nvram exactly as the procedure says, flashes a sparse image, and ends with `oem HALT`.
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/vm/phone.sh
. "$(dirname "$0")/phone.sh"

fb() { timeout 120 fastboot "$@"; }

refused_with_commercial_lk() {
    phone_on_bench
    into_fastboot
    expect 0 "^${serial}[[:space:]]+fastboot" fb devices
    expect 0 'commercial' fb oem getBootloaderType
    expect !0 'FAILED' fb flash nvram "$work/nvram.img"
    rack_stop
    wait_for 30 eval '! usb_has "$FASTBOOT_ID"'
}

allowed_with_service_lk() {
    partition_put lk_a "$package/lk_service.img"
    phone_on_bench
    into_fastboot
    expect 0 "^${serial}[[:space:]]+fastboot" fb devices
    expect 0 'service' fb oem getBootloaderType
    expect 0 "serialno: *$serial" fb getvar all
    grep -Eq 'product: *PDA' <<<"$output" || fail "getvar all does not name the product"
    expect !0 'FAILED' fb flash nvram "$work/nvram.img"
    expect !0 'FAILED' fb oem dm-verity "$(tr 0-9A-F 1-9A-F0 <<<"$dm_verity")"
    expect !0 'FAILED' fb flash nvram "$work/nvram.img"
    expect 0 'OKAY' fb oem dm-verity "$dm_verity"
    expect 0 'OKAY' fb flash nvram "$work/nvram.img"
    expect 0 'OKAY' fb flash vendor_a "$work/vendor.sparse"
    expect 0 'OKAY' fb oem HALT
    wait_for 30 stage_is halted
    expect 0 '^$' fb devices
    order unplug >/dev/null
    wait_for 30 stage_is off
    rack_stop
}

make_phone
package=$("$FLASHRACK_BUILD/x5-factory" package "$work/package")
# What goes in is told from what lies there by its contents.
partition_get nvram "$work/nvram.before"
head -c "$(stat -c %s "$work/nvram.before")" /dev/urandom >"$work/nvram.img"
partition_get vendor_a "$work/vendor.before"
truncate -s "$(stat -c %s "$work/vendor.before")" "$work/vendor.raw"
head -c 300000 /dev/urandom | dd of="$work/vendor.raw" bs=4096 seek=5 conv=notrunc status=none
head -c 8192 /dev/urandom | dd of="$work/vendor.raw" bs=4096 seek=150 conv=notrunc status=none
img2simg "$work/vendor.raw" "$work/vendor.sparse"

refused_with_commercial_lk
partition_get nvram "$work/nvram.after"
cmp "$work/nvram.before" "$work/nvram.after" || fail "nvram changed although flashing was refused"

allowed_with_service_lk
partition_get nvram "$work/nvram.after"
cmp "$work/nvram.img" "$work/nvram.after" || fail "nvram is not what was flashed"
partition_get vendor_a "$work/vendor.after"
cmp "$work/vendor.raw" "$work/vendor.after" || fail "vendor_a is not what the sparse image holds"
say "ok"
