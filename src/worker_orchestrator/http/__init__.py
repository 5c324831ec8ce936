"""The HTTP edge. A request passes, in this order:

`listening`    the addresses that it can come to
`server`       uvicorn, and how many connections it may have (`connections`)
`protocol`     how large and how slow a request may be
`guard`        which sites and names it may come from
`callers`      whether it has the token, and how often it may ask (`throttle`)
`document`     the API document's routes
`app`          puts these together: one ASGI application

Plain ASGI without a framework: five routes do not need a router, and an assign is on the way of every project that opens.
"""
