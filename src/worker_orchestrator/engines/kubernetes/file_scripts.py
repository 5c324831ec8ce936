"""The scripts that copy files in a pod, for any shell, and how paths are given to them.

They use builtins, `tar` and `dd` of the worker, and `readlink` where there are links. A path is given as `printf` reads it,
since Kubernetes takes text only, and a name may have any byte but 0.
"""

from __future__ import annotations

import os
import re
from typing import Final

__all__ = ["LOOK", "NO_DD", "NO_TAR", "PACK", "UNPACK", "escaped"]

NO_TAR: Final = 101
NO_DD: Final = 102
"""Exit codes that say what the worker lacks."""

_SPECIAL: Final = re.compile(rb"[^A-Za-z0-9/._+:@=,~-]")

LOOK: Final = r"""
command -v tar >/dev/null 2>&1 || exit 101
for given; do
  path=$(printf '%bx' "$given"); path=${path%x}
  if [ -L "$path" ]; then
    target=$(readlink "$path" 2>/dev/null && echo x) || { printf '?\0'; continue; }
    printf 'l%s\0' "${target%?x}"
  elif [ -d "$path" ]; then printf 'd\0'
  elif [ -e "$path" ]; then printf 'o\0'
  elif [ -d "${path%/*}/" ] && ! [ -x "${path%/*}/" ]; then printf 'p\0'
  else printf 'm\0'
  fi
done
"""
"""For each path: a letter for what it stands for, of a link also where it leads, and a zero byte."""

PACK: Final = r"""
folder=$(printf '%bx' "$1") name=$(printf '%bx' "$2")
cd "${folder%x}" || exit
case $(tar --version 2>/dev/null) in *GNU*) as_is=--no-unquote ;; *) as_is= ;; esac
if [ "${name%x}" ]; then exec tar $as_is -cf - -- "${name%x}"; fi
set --
for each in * .[!.]* ..?*; do
  case $each in proc | sys | dev) continue ;; esac
  if [ -e "$each" ] || [ -L "$each" ]; then set -- "$@" "$each"; fi
done
exec tar $as_is -cf - -- "$@"
"""
"""Packs one name in a folder; without a name all that is in it, but for what the kernel shows there.

The `tar` of GNU takes a backslash in a name for something else, unless it is told not to.
"""

UNPACK: Final = r"""
dd bs=1 count=0 iflag=fullblock </dev/null >/dev/null 2>&1 || exit 102
place=$(printf '%bx' "$1")
cd "${place%x}" || exit
own=o
while read -r key value; do
  case $key$value in CapEff:*[13579bdf]) own= ;; esac
done </proc/self/status
exec 3>&1
{
  while IFS= read -r told; do
    name=${told#?}
    case $told in
      +*) dd bs="$name" count=1 iflag=fullblock 2>/dev/null || exit ;;
      f*) if [ -d "$name" ] && ! [ -L "$name" ]; then printf '%s\n' "$told" >&3; exit; fi ;;
      d*) if [ -L "$name" ] || { [ -e "$name" ] && ! [ -d "$name" ]; }; then printf '%s\n' "$told" >&3; exit; fi ;;
      .) break ;;
    esac
  done
} | tar -xp${own}f - >&2
"""
"""Unpacks what comes in lines: `+` and a number, and so many bytes of the archive; `f` or `d` and the name of an entry that
is told next, which is written to standard output if something else has its place; and a dot in the end, since a connection
cannot say that there is no more. Who may not give files away gets all of them.
"""


def escaped(path: str) -> str:
    """The path as a format of `printf %b`. A byte of it that is no text is a lone surrogate."""
    return _SPECIAL.sub(lambda it: b"\\0%03o" % it[0][0], os.fsencode(path)).decode()
