#!/bin/bash
# The kernel's cdc_acm binds the boot ROM and carries its start sequence: each byte comes back as its complement.
# shellcheck source=tests/vm/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/vm/phone.sh
. "$(dirname "$0")/phone.sh"

# Prints what came back for each byte, and the answer to "which chip": the echo, its code, a status of 0.
start_sequence() {
    /usr/bin/python3 - <<'EOF'
import os, select, termios, tty

def answer(fd, count):
    got = b""
    while len(got) < count and select.select([fd], [], [], 20)[0]:
        got += os.read(fd, count - len(got))
    return got.hex(" ")

fd = os.open("/dev/ttyACM0", os.O_RDWR | os.O_NOCTTY)
tty.setraw(fd, termios.TCSANOW)
for byte in bytes.fromhex("a00a5005"):
    os.write(fd, bytes([byte]))
    print(f"{byte:02x} -> {answer(fd, 1)}")
os.write(fd, b"\xfd")
print(f"fd -> {answer(fd, 5)}")
EOF
}

make_phone
phone_on_bench
into_brom
wait_for 30 test -c /dev/ttyACM0
expect 0 '' start_sequence
output_is acm-start
off
wait_for 30 test ! -e /dev/ttyACM0
say "ok"
