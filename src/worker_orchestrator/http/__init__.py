"""The HTTP edge. A request passes, in this order:

`server/`     the addresses, the connections, and how large and how slow a request may be
`app`         one ASGI application, which joins all that follows
`access/`     which sites and names may call, with which token or session, and how often
`monitoring`  /livez, /readyz and /metrics
`pages/`      the dashboard, the page of the API, and openapi.json
`document`    the API document's routes
`v1/`         the routes of /v1; `problems` are its errors

A route returns a `reply`. The document's routes are plain ASGI without a framework: five routes need no router, and an
assign is part of opening every project.
"""
