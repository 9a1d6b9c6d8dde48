#!/bin/bash
# One byte of one phone's flash is flipped before the checker looks: the demo must say 1 of 2 and exit 1.
set -u
out=$(/usr/bin/python3 "$(dirname "$0")/demo.py" --once --phones 2 --tamper 1:0x5400000)
status=$?
echo "exit status $status, last line: $out"
[ "$status" = 1 ] && [[ $out == '{"jobs":2,"succeeded":1,"failed":1,'* ]]
