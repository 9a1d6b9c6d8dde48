#!/bin/bash
# Every failure id that worker, planner or station can report stands in schema/failures.json, once, with a code and
# advice; what an operator reads depends on it. Usage: failure_ids.sh CHECKOUT
set -u
cd "$1" || exit 2
known=$(grep -oE '"id":"[A-Z][0-9]+"' schema/failures.json | cut -d'"' -f4)
twice=$(sort <<<"$known" | uniq -d)
# ids stand alone in quotes: "B5"; gate rules V1..V6 and steps S1..S22 are no failures
used=$(grep -ohE '"[A-FL][0-9]{1,2}"' usb/recipe/*.c usb/plan/*.c usb/worker/*.c server/station/*.c | tr -d '"' | sort -u)
missing=$(comm -23 <(echo "$used") <(sort <<<"$known"))
bare=$(grep -E '"id"' schema/failures.json | grep -vE '"code":"[a-z_0-9]+","class":"(retry|fix|stop)","cause":"[^"]{10,}","advice":"[^"]{10,}"')
[ "$(wc -w <<<"$used")" -ge 25 ] || { echo "only $(wc -w <<<"$used") ids found: the pattern is stale"; exit 1; }
[ -z "$twice$missing$bare" ] && exit 0
echo "twice: ${twice:-none}; not in the catalogue: ${missing:-none}; without code, class or advice: ${bare:-none}"
exit 1
