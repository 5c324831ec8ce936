"""One stable address per project: its hosts (`hosts`), its URL (`urls`), and where a host leads now (`finding`).

Who may see it is decided in `admission`; `links` are signed URLs that let somebody in for a while.
"""
