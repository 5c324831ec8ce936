"""Finds and ends all processes of a command that was started in a container. Engines have no call for that.

Each command carries a mark in its environment, which its children inherit. A second command, as the same user, looks for
processes with the mark, for their children and for members of their sessions, and kills them until none is left. It is a
shell script that uses only builtins, and gets the mark as an argument, so that it never finds itself. Nor does it take the
session that it is a member of for the command's: each has one of its own.
"""

from __future__ import annotations

import enum
import secrets
from typing import Final

__all__ = ["MARK", "SCRIPT", "Search", "new_mark"]

MARK: Final = "ORCHESTRATOR_EXEC"


class Search(enum.Enum):
    """How a search for processes ended: it found none, or killed all that it found, or some are left."""

    NONE = b"none"
    GONE = b"gone"
    SOME = b"some"


SCRIPT: Final = r"""
exec 2>/dev/null
slurp() { text=; while IFS= read -r line || [ -n "$line" ]; do text=$text$line; done <"$1"; }
mark=$1 sessions=' ' passes=0
slurp "/proc/$$/stat" && set -- ${text##*) } && own=$4
while [ $passes -lt 100 ]; do
  found=' ' again=yes
  while [ "$again" ]; do
    again=
    for folder in /proc/[0-9]*; do
      pid=${folder#/proc/}
      case $found in *" $pid "*) continue ;; esac
      slurp "$folder/stat" || continue
      set -- ${text##*) }
      case $1 in '' | Z | X) continue ;; esac
      parent=$2 session=$4 hit=
      case $found in *" $parent "*) hit=yes ;; esac
      case $sessions in *" $session "*) hit=yes ;; esac
      if [ -z "$hit" ]; then
        slurp "$folder/environ" || continue
        case $text in *"$mark"*) ;; *) continue ;; esac
      fi
      found="$found$pid " again=yes
      [ "$session" -gt 1 ] && [ "$session" != "$own" ] && sessions="$sessions$session "
    done
  done
  if [ "$found" = ' ' ]; then
    [ $passes = 0 ] && printf none || printf gone
    exit
  fi
  kill -9 $found
  passes=$((passes + 1))
done
printf some
"""


def new_mark() -> str:
    """A new mark, as NAME=value."""
    return f"{MARK}={secrets.token_hex(16)}"
