#!/bin/bash
# Thirty-two phones restored at once over the direct transport, judged by x5-check. The last line is one JSON object.
set -euo pipefail
exec /usr/bin/python3 "$(dirname "$0")/../demo/demo.py" --once --phones 32
