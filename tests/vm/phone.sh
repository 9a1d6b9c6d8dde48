# phone.sh: one emulated phone in the guest, as the files that x5-factory makes and the program that runs
# them. Sourced by test scripts after lib.sh.
# shellcheck shell=bash disable=SC2154,SC2034 # work, out are of lib.sh; dm_verity is for the tests

phone=1-1
FASTBOOT_ID=2e04:c009
BROM_ID=0e8d:0003
PRELOADER_ID=0e8d:2000
ANDROID_ID=2e04:c026
# lsusb is slow here, and nobody hurries.
rack_options=(--hands none --vhci --profile tiny --hands-speed 10 --set brom_window_ms=600000)

# A phone as it leaves the factory.
make_phone() {
    "$FLASHRACK_BUILD/x5-factory" rack --state "$work/rack" --phones 1 --slot a --profile tiny \
        >/dev/null
    [[ $(<"$work/rack/rack.json") =~ \"serial\":\ *\"([^\"]+)\" ]] || fail "the label has no serial"
    serial=${BASH_REMATCH[1]}
    read -r dm_verity _ < <(printf '%s' "$serial" | md5sum)
    dm_verity=${dm_verity^^}
}

# Where a partition lies in the phone's user area, told by sgdisk: "first_sector sectors".
partition_place() { # name
    sgdisk --print "$work/rack/$phone/user.img" |
        awk -v name="$1" '$NF == name { print $2, $3 - $2 + 1; found = 1 } END { exit !found }'
}

# Copies an image into a partition, or a partition out, of a phone that does not run.
partition_put() { # name file
    local place
    read -r -a place <<<"$(partition_place "$1")"
    dd if="$2" of="$work/rack/$phone/user.img" bs=512 seek="${place[0]}" conv=notrunc status=none
}
partition_get() { # name file
    local place
    read -r -a place <<<"$(partition_place "$1")"
    dd if="$work/rack/$phone/user.img" of="$2" bs=512 skip="${place[0]}" count="${place[1]}" status=none
}

order() { # do [more JSON members]
    control "{\"phone\":\"$phone\",\"do\":\"$1\"${2:+,$2}}"
}

stage_is() { [[ $(order state) == *"\"stage\":\"$1\""* ]]; }

# Starts the phone; the cable is out and it is off.
phone_on_bench() {
    rack 1 "${rack_options[@]}"
    order unplug >/dev/null
}

# With Volume Down held while it is switched on, it starts into fastboot.
into_fastboot() {
    order hold '"keys":["vol_down"]' >/dev/null
    order power_long >/dev/null
    order plug >/dev/null
    wait_for 60 usb_has "$FASTBOOT_ID"
    order release >/dev/null
}

# With both volume keys held when the cable goes in, its boot ROM waits for the host.
into_brom() {
    order hold '"keys":["vol_up","vol_down"]' >/dev/null
    order plug >/dev/null
    wait_for 30 usb_has "$BROM_ID"
    order release >/dev/null
}

# Without keys its preloader comes first, for as long as preloader_window_ms says.
into_preloader() {
    order plug >/dev/null
    wait_for 30 usb_has "$PRELOADER_ID"
}

# Started by its power key, the cable in.
into_android() {
    order power_long >/dev/null
    order plug >/dev/null
    wait_for 60 usb_has "$ANDROID_ID"
}

# Off and unplugged.
off() {
    order unplug >/dev/null
    order force_off >/dev/null
    wait_for 30 stage_is off
}

# Does the last output hold anything but descriptors?
lsusb_complains() { [[ ${output,,} =~ warning|error|can\'t|cannot|couldn\'t|invalid|unrecognized|unknown ]]; }
