#!/usr/bin/env bash
# uvloop: if the program has already ended, `Process.communicate(input)` raises RuntimeError; with asyncio's own loop it returns.
#
# Seen with: uvloop 0.23.0 and CPython 3.11. The program reads no input and ends at once (`true`). A moment later we call
# communicate(b"hello"): 20 of 20 calls raise "RuntimeError: unable to perform operation on <WriteUnixTransport closed=True …>; the
# handler is closed". With asyncio's loop, 20 of 20 return (b"", None), as its documentation says: BrokenPipeError and
# ConnectionResetError are ignored if the program ended before all input was written. Without the moment in between it is a race that
# uvloop sometimes loses. Code that catches only OSError, as the documentation of asyncio suggests, does not catch this error.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check uvloop==0.23.0
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import collections
import sys

import uvloop


async def ask_once() -> str:
    process = await asyncio.create_subprocess_exec("true", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    await process.wait()
    await asyncio.sleep(0.05)
    try:
        await process.communicate(b"hello")
    except Exception as error:
        return type(error).__name__
    return "returned"


async def ask_often() -> dict[str, int]:
    return dict(collections.Counter([await ask_once() for _ in range(20)]))


seen = {}
for name, loop in {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}.items():
    with asyncio.Runner(loop_factory=loop) as runner:
        seen[name] = runner.run(ask_often())
print(f"uvloop {uvloop.__version__}, Python {sys.version.split()[0]}: {seen}")
sys.exit(seen != {"asyncio": {"returned": 20}, "uvloop": {"RuntimeError": 20}})
PYTHON
echo "as stated"
