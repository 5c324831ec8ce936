"""One stable address per project: its hosts (`hosts`), its URL (`urls`), and where a host leads now (`finding`)."""
