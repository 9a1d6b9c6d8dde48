#!/bin/bash
# The failure catalogue and the sources say the same: every id that worker, planner or station can report stands in
# schema/failures.json, once, with code, class and advice; every entry is used, or says that a person sees it; and no id
# of the catalogue of the phone's documentation is missing. Usage: failure_ids.sh CHECKOUT
set -u
cd "$1" || exit 2
known=$(grep -oE '"id":"[A-Z][0-9]+"' schema/failures.json | cut -d'"' -f4)
twice=$(sort <<<"$known" | uniq -d)
# ids stand alone in quotes: "B5"; gate rules V1..V6 and steps S1..S22 are no failures
used=$(grep -ohE '"[A-GL][0-9]{1,2}"' usb/recipe/*.c usb/plan/*.c usb/worker/*.c server/station/*.c server/store/*.c |
    tr -d '"' | sort -u)
missing=$(comm -23 <(echo "$used") <(sort <<<"$known"))
seen=$(grep '"seen_by":"person"' schema/failures.json | grep -oE '"id":"[A-Z][0-9]+"' | cut -d'"' -f4 | sort)
unused=$(comm -23 <(sort <<<"$known") <(sort -u <<<"$used
$seen"))
both=$(comm -12 <(echo "$used") <(echo "$seen"))
# letter and how many there are
wanted=$(for kind in A:8 B:6 C:11 D:17 E:15 F:5; do
    for ((i = 1; i <= ${kind#*:}; i++)); do echo "${kind%:*}$i"; done
done | sort)
absent=$(comm -23 <(echo "$wanted") <(sort <<<"$known"))
bare=$(grep -E '"id"' schema/failures.json |
    grep -vE '"code":"[a-z_0-9]+","class":"(retry|fix|stop)","cause":"[^"]{10,}","advice":"[^"]{10,}"')
[ "$(wc -w <<<"$used")" -ge 25 ] || { echo "only $(wc -w <<<"$used") ids found: the pattern is stale"; exit 1; }
[ -z "$twice$missing$unused$both$absent$bare" ] && exit 0
echo "twice: ${twice:-none}; not in the catalogue: ${missing:-none}; never used: ${unused:-none}; a person's, but used:" \
    "${both:-none}; of the documentation, absent: ${absent:-none}; without code, class or advice: ${bare:-none}"
exit 1
