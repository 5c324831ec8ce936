"""Judge a run of mutmut: every mutant of the core is killed, or listed in equivalent.toml with the reason why none can be.

Run by `make mutants` in the root of the project, after `mutmut run`. It prints the figures per file and ends with 1 if a
mutant survived that is not listed, or if the list names one that is killed or does not exist, so that the list stays true.
A listed mutant is named by its function and by the text of its lines, never by a number, which any edit may shift.
"""

from __future__ import annotations

import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files
from mutmut.utils.format_utils import orig_function_and_class_names_from_key

LIST = Path(__file__).with_name("equivalent.toml")


@dataclass(frozen=True, slots=True, order=True)
class Mutant:
    """One change of one function: its lines before and after, without indentation."""

    file: str
    function: str
    before: str
    after: str

    def __str__(self) -> str:
        lines = [f"- {line}" for line in self.before.splitlines()] + [f"+ {line}" for line in self.after.splitlines()]
        return "\n    ".join([f"{self.file} {self.function}", *lines])


@dataclass(frozen=True, slots=True)
class Judged:
    """A mutant with what became of it in mutmut's words, and the name by which `mutmut show` knows it."""

    mutant: Mutant
    status: str
    name: str

    @property
    def is_killed(self) -> bool:
        return self.status in {"killed", "timeout"}


def listed(text: str) -> Mapping[Mutant, str]:
    """The mutants of the list, each with the reason why it is equivalent. Each stands there once, and has one."""
    found: dict[Mutant, str] = {}
    for entry in tomllib.loads(text).get("mutant", []):
        why = entry.pop("why")
        mutant = Mutant(**entry)
        assert why, f"listed without a reason: {mutant}"
        assert mutant not in found, f"listed twice: {mutant}"
        found[mutant] = why
    return found


def complaints(judged: Sequence[Judged], equivalent: Iterable[Mutant]) -> Iterator[str]:
    """What is wrong, a paragraph each. Nothing, if each mutant is either killed or listed, and no listed one is killed."""
    known = set(equivalent)
    for one in judged:
        if one.mutant in known and one.is_killed:
            yield f"listed as equivalent, but killed ({one.name}):\n    {one.mutant}"
        if one.mutant not in known and not one.is_killed:
            yield f"{one.status} ({one.name}):\n    {one.mutant}"
    for mutant in sorted(known - {one.mutant for one in judged}):
        yield f"listed as equivalent, but there is no such mutant any more:\n    {mutant}"


def table(judged: Sequence[Judged], equivalent: Iterable[Mutant]) -> Iterator[str]:
    """The figures, a line per file and one for all."""
    known = set(equivalent)
    columns = ("mutants", "killed", "timed out", "equivalent", "survived")
    yield f"{'file':<14}" + "".join(f"{column:>12}" for column in columns)
    in_order = sorted(judged, key=lambda one: one.mutant.file)
    groups = {file: list(ones) for file, ones in groupby(in_order, key=lambda one: one.mutant.file)}
    for file, ones in (groups | {"all": list(judged)}).items():
        counts = Counter(
            "timed out" if one.status == "timeout"
            else "killed" if one.is_killed
            else "equivalent" if one.mutant in known
            else "survived"
            for one in ones
        )  # fmt: skip
        counts["mutants"] = len(ones)
        yield f"{file:<14}" + "".join(f"{counts[column]:>12}" for column in columns)


def last_run() -> Iterator[Judged]:
    """What mutmut left in its folder `mutants`."""
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        for name, exit_code in data.exit_code_by_key.items():
            function, owner = orig_function_and_class_names_from_key(name)
            before, after = changed_lines(get_diff_for_mutant(name, path=path))
            mutant = Mutant(path.name, f"{owner}.{function}" if owner else function, before, after)
            yield Judged(mutant, status_by_exit_code[exit_code], name)


def changed_lines(diff: str) -> tuple[str, str]:
    """The lines of a unified diff of one file that it takes away, and those that it puts there."""
    body = diff.splitlines()[2:]
    before, after = ([line[1:].strip() for line in body if line.startswith(sign)] for sign in "-+")
    return "\n".join(before), "\n".join(after)


def main() -> int:
    equivalent = listed(LIST.read_text(encoding="utf-8"))
    judged = list(last_run())
    wrong = list(complaints(judged, equivalent))
    print("\n".join(table(judged, equivalent)))
    print("\n".join(f"\n{paragraph}" for paragraph in wrong))
    return 1 if wrong or not judged else 0


if __name__ == "__main__":
    sys.exit(main())
