#!/bin/bash
# all_restored.sh COUNT: a demo of that many phones exits 0 and its last line says that each was restored, to the letter:
# scripts read it.
set -u
out=$(/usr/bin/python3 "$(dirname "$0")/demo.py" --once --phones "$1")
status=$?
last=$(tail -n 1 <<<"$out")
echo "exit status $status, last line: $last"
[ "$status" = 0 ] &&
    [[ $last =~ ^'{"jobs":'"$1"',"succeeded":'"$1"',"failed":0,"seconds":'[0-9.]+',"bytes_written":'[1-9][0-9]*'}'$ ]]
