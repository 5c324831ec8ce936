"""What a page complains of: in the console, as an error of a script, against its policy, or that nothing answers."""

from __future__ import annotations

from dataclasses import dataclass, field

from playwright.sync_api import ConsoleMessage, Page

__all__ = ["Heard"]


@dataclass(slots=True)
class Heard:
    """What a page says and asks for, from its first byte on."""

    errors: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, page: Page) -> Heard:
        heard = cls()
        page.on("console", lambda said: heard.note(said))  # noqa: PLW0108 # Playwright marks what it is given
        page.on("pageerror", lambda error: heard.errors.append(str(error)))
        page.on("request", lambda request: heard.asked.append(request.url))
        page.on("requestfailed", lambda request: heard.errors.append(f"{request.url}: {request.failure}"))
        page.expose_function("violated", lambda what: heard.errors.append(what))  # noqa: PLW0108 # Playwright looks at it
        page.add_init_script(
            "addEventListener('securitypolicyviolation',"
            " e => violated(`${e.effectiveDirective}: ${e.blockedURI} ${e.sourceFile}:${e.lineNumber}`))"
        )
        return heard

    def note(self, said: ConsoleMessage) -> None:
        if said.type in {"error", "warning"}:
            self.errors.append(f"{said.text} {said.location['url']}")

    def hosts(self) -> set[str]:
        return {url.split("/")[2] for url in self.asked if not url.startswith("data:")}
