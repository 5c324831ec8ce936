"""Reads `[[pools.NAME.windows]]` of orchestrator.toml."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from worker_orchestrator.core.windows import Window
from worker_orchestrator.errors import InvalidSetting
from worker_orchestrator.settings import parsers
from worker_orchestrator.settings.setting import Setting
from worker_orchestrator.settings.toml_file import TomlFile
from worker_orchestrator.settings.values import parsed, suggestion

__all__ = ["as_table", "read_windows"]

_ANY_DAY: Final = datetime(2000, 1, 1)  # noqa: DTZ001 # a local time of no zone
_LONGEST_S: Final = 31 * 86_400
_LONGEST_CRON: Final = 200


def read_windows(file: TomlFile, pool: str) -> tuple[Window, ...]:
    """The windows of this pool's table. Raises InvalidSetting."""
    keys = ("pools", pool, "windows")
    tables = file.table["pools"][pool].get("windows", [])
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        raise InvalidSetting(
            f"{file.place(*keys)} must be tables, each with the header [[pools.{pool}.windows]] and its own keys."
        )
    return tuple(_window(file, (*keys, number), table) for number, table in enumerate(tables))


def as_table(window: Window) -> dict[str, Any]:
    """A window with the keys of its table, and all of their values."""
    return {
        "cron": window.cron,
        "for": _duration(window.duration_s),
        "min_idle": window.min_idle,
        "max_idle": window.max_idle,
        "timezone": window.zone.key,
    }


def _duration(seconds: int) -> str:
    parts = ((seconds // 3600, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s"))
    return "".join(f"{count}{unit}" for count, unit in parts if count)


def _window(file: TomlFile, keys: tuple[str | int, ...], table: Mapping[str, Any]) -> Window:
    given: dict[str, Any] = {"timezone": ZoneInfo("UTC")}
    for key, raw in table.items():
        name = key.replace("-", "_")
        if name not in _KEYS:
            raise InvalidSetting(
                f"{file.place(*keys, key)} is not a key of a window. {suggestion(name, _KEYS, 'keys of a window')}"
            )
        given[name] = parsed(_KEYS[name], raw, file.source(*keys, key), partial(file.place, *keys, key)).value
    missing = [name for name in ("cron", "for", "min_idle") if name not in given]
    if missing:
        raise InvalidSetting(
            f"{file.place_of_table(*keys)} has no {missing[0]}. A window needs cron, for and min_idle, such as "
            'cron = "0 8 * * 1-5", for = "10h", min_idle = 8.'
        )
    return Window(given["cron"], given["for"], given["timezone"], given["min_idle"], given.get("max_idle"))


# parsers, as those of settings


def _cron(value: Any) -> str:
    """Without names of schedules such as @daily, and without seconds."""
    text = " ".join(value.split()) if isinstance(value, str) and len(value) <= _LONGEST_CRON else ""
    said = "minute, hour, day of the month, month and day of the week in cron's words, such as 0 8 * * 1-5"
    if len(text.split()) != 5:
        raise ValueError(said)
    try:
        first = next(CronSim(text, _ANY_DAY), None)
    except CronSimError as error:
        field = str(error).removeprefix("Bad ").replace("day-of-month", "day of the month")
        raise ValueError(f"{said}; its {field.replace('day-of-week', 'day of the week')} is wrong") from None
    if first is None:
        raise ValueError(f"{said}; these days never come")
    return text


def _timezone(value: Any) -> ZoneInfo:
    said = "the name of a time zone, such as Europe/Berlin or UTC"
    if not isinstance(value, str):
        raise ValueError(said)  # noqa: TRY004 # as every parser
    try:
        return ZoneInfo(value)
    except (ValueError, OSError, KeyError):  # not a name, the name of a folder, or unknown
        import difflib  # noqa: PLC0415 # needed only here, and slow to import

        close = difflib.get_close_matches(value, available_timezones(), n=1)
        raise ValueError(said + (f": did you mean {close[0]}" if close else "")) from None


_KEYS: Final = {
    setting.name: setting
    for setting in (
        Setting("cron", "", _cron, None),
        Setting("for", "", parsers.duration(60, _LONGEST_S), None),
        Setting("min_idle", "", parsers.number(0, 10_000), None),
        Setting("max_idle", "", parsers.number(0, 10_000), None),
        Setting("timezone", "", _timezone, None),
    )
}
