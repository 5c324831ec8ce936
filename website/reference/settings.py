"""Every setting, as `serve` takes it, as a variable and in orchestrator.toml."""

from __future__ import annotations

from website.reference.markdown import code, table
from worker_orchestrator.settings.setting import Setting
from worker_orchestrator.settings.settings import settings as every_setting

__all__ = ["settings"]

_INTRODUCTION = """\
# All settings

Made from the source of this version. [Settings](../docs/settings.md) says which one wins where several say something, and
[pools](../docs/pools.md) what a pool may have of its own.

"""


def _default(setting: Setting) -> str:
    if setting.name == "state_dir":
        return "the platform's user state folder"
    if setting.default in (None, "", (), False):
        return "none" if setting.values else "off"
    if isinstance(setting.default, float):
        return code(f"{setting.default:g}")
    if isinstance(setting.default, tuple):
        return " ".join(code("=".join(map(str, one)) if isinstance(one, tuple) else one) for one in setting.default)
    return code(setting.default)


def _entry(setting: Setting) -> str:
    flag = " ".join(filter(None, (setting.flag, setting.values)))
    rows = [
        ("flag", code(flag) if setting.flag else "none: other users of a computer see the command lines of processes"),
        ("variable", code(setting.variable)),
        ("in orchestrator.toml", code(setting.name)),
        ("default", _default(setting)),
        ("of a pool", "no" if setting.inherited is None else "yes"),
    ]
    return f"## `{setting.name}`\n\n{setting.help}\n\n{table(('', ''), rows)}"


def settings() -> str:
    return _INTRODUCTION + "".join(map(_entry, every_setting()))
