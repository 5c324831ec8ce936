#!/usr/bin/env bash
# CronSim: in an hour that comes twice, the next time may lie in the past, and the last time may be that of the day before.
#
# Seen with: cronsim 2.8 and CPython 3.11, Europe/Berlin on 2026-10-25, when 2:00 to 3:00 comes twice. At 2:15 the second time, "30 2 * * *"
# is said to come next at 2:30 the first time, which was three quarters of an hour ago. Backwards, it is said to have come last on the day
# before. The reason is that the time that iteration starts from loses its `fold`. Where the clock changes by half an hour (Lord Howe), an
# expression such as "*/10 3 * * *" also begins with 3:30 on that day, and 3:00 to 3:20 are left out.
# So `core/windows.py` has CronSim read expressions only, in local time without a zone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check cronsim==2.8 tzdata
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from datetime import datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim

now = datetime(2026, 10, 25, 2, 15, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))
lord_howe = datetime(2026, 4, 5, 1, 10, tzinfo=ZoneInfo("Australia/Lord_Howe"))
seen = [
    next(CronSim("30 2 * * *", now)).isoformat(),
    next(CronSim("30 2 * * *", now, reverse=True)).isoformat(),
    next(CronSim("*/10 3 * * *", lord_howe)).isoformat(),
]
print(f"Python {sys.version.split()[0]}, now {now.isoformat()}: {seen}")
sys.exit(seen != ["2026-10-25T02:30:00+02:00", "2026-10-24T02:30:00+02:00", "2026-04-05T03:30:00+10:30"])
PYTHON
echo "as stated"
