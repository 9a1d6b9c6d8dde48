#!/bin/bash
# Whoever has this repository has everything it refers to: each page that a file names is in it.
# Usage: stands_alone.sh CHECKOUT
set -u
cd "$1" || exit 2
pages=$(git ls-files '*.md' 2>/dev/null | sed 's|.*/||' | sort -u)
[ -n "$pages" ] || pages=README.md
named=$(git grep -ohIE '[A-Za-z0-9_-]+\.md\b' -- ':!*package-lock.json' | sort -u)
missing=$(comm -23 <(echo "$named") <(echo "$pages"))
[ -z "$missing" ] && exit 0
echo "named, but not in this repository: $missing"
git grep -nIF "$(head -n 1 <<<"$missing")" | head
exit 1
