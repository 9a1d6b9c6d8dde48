#!/bin/sh
# Second part of the guest's first process, in the machine's root file system: runs the command, hands its
# output and status to the outside, switches off. Needs nothing of that file system but bash.
out=$1
busybox=/run/guest/busybox

# A port can be open only once, so the command writes to pipes; /dev/stdout can then be opened, too.
$busybox mkfifo /run/guest/stdout /run/guest/stderr
relays=
for port in /sys/class/virtio-ports/*; do
    name=$($busybox cat "$port/name")
    $busybox cat "/run/guest/$name" >"/dev/${port##*/}" &
    relays="$relays $!"
done

$busybox setsid /bin/bash "$out/.guest/command" </dev/null >/run/guest/stdout 2>/run/guest/stderr &
wait $!
status=$?

# What the command left running may hold the pipes; its last words get a second.
(
    $busybox sleep 1
    kill $relays 2>/dev/null
) &
for relay in $relays; do wait "$relay"; done

echo "$status" >"$out/.guest/status.new"
$busybox mv "$out/.guest/status.new" "$out/.guest/status"
$busybox dmesg >"$out/.guest/dmesg" 2>/dev/null
# At once and without the driver's goodbyes, which can hang on a stuck USB device; nothing here is kept.
echo b >/proc/sysrq-trigger
$busybox sleep 60
