#!/bin/bash
# Debian's fastboot judges the emulated phone: it lists it, reads all variables, is refused and then allowed to
# flash nvram exactly as the procedure says, flashes a sparse image, and ends with `oem HALT`.
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/vm/phone.sh
. "$(dirname "$0")/phone.sh"

fb() { timeout 120 fastboot "$@"; }

# The phone says no, in just these words.
refused() { # text fastboot-arguments...
    local text=$1
    shift
    expect !0 '' fb "$@"
    says '^fastboot: error: Command failed$' || fail "fastboot did not fail as it does"
    # LK ends some of its texts in a newline
    [[ ${output//$'\n'/} == *"FAILED (remote: '$text')"* ]] || fail "the refusal is not '$text'"
}

refused_with_commercial_lk() {
    phone_on_bench
    into_fastboot
    expect 0 "^${serial}[[:space:]]+fastboot" fb devices
    expect 0 '\(bootloader\) commercial$' fb oem getBootloaderType
    refused 'not allowed in locked state' flash nvram "$work/nvram.img"
    refused 'not allowed in locked state' erase userdata
    refused 'unknown command' oem dm-verity "$dm_verity"
    expect 0 "FAILED \\(remote: 'GetVar Variable Not found'\\)" fb getvar no-such-variable
    rack_stop
    wait_for 30 eval '! usb_has "$FASTBOOT_ID"'
}

allowed_with_service_lk() {
    partition_put lk_a "$package/lk_service.img"
    phone_on_bench
    into_fastboot
    expect 0 "^${serial}[[:space:]]+fastboot" fb devices
    expect 0 '\(bootloader\) service$' fb oem getBootloaderType
    expect 0 '' fb getvar all
    output_is fastboot-getvar-all
    refused 'target device is locked' flash nvram "$work/nvram.img"
    refused 'dm-verity verify failed' oem dm-verity "$(tr 0-9A-F 1-9A-F0 <<<"$dm_verity")"
    refused 'target device is locked' flash nvram "$work/nvram.img"
    expect 0 'OKAY' fb oem dm-verity "$dm_verity"
    refused "download for partition 'seccfg' is not allowed" flash seccfg "$work/small.img"
    refused 'flash preloader is not permitted.' flash preloader "$work/small.img"
    refused "This partition doesn't exist" flash no_such "$work/small.img"
    refused 'size too large' flash elabel "$work/nvram.img"
    refused "format for partition 'nvram' is not allowed" erase nvram
    expect 0 'OKAY' fb flash nvram "$work/nvram.img"
    output_is fastboot-flash
    expect 0 'OKAY' fb flash vendor_a "$work/vendor.sparse"
    output_is fastboot-flash-sparse
    expect 0 'OKAY' fb oem HALT
    wait_for 30 stage_is halted
    expect 0 '^$' fb devices
    order unplug >/dev/null
    wait_for 30 stage_is off
    rack_stop
}

make_phone
package=$("$FLASHRACK_BUILD/x5-factory" package "$work/package" --profile tiny)
head -c 4096 /dev/zero >"$work/small.img"
# What goes in is told from what lies there by its contents.
partition_get nvram "$work/nvram.before"
head -c "$(stat -c %s "$work/nvram.before")" /dev/urandom >"$work/nvram.img"
partition_get vendor_a "$work/vendor.before"
truncate -s "$(stat -c %s "$work/vendor.before")" "$work/vendor.raw"
head -c 13000 /dev/urandom | dd of="$work/vendor.raw" bs=4096 seek=3 conv=notrunc status=none
head -c 8192 /dev/urandom | dd of="$work/vendor.raw" bs=4096 seek=12 conv=notrunc status=none
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
