"""The HTTP edge: who may call (`guard`), the API document's routes (`document`), one ASGI application (`app`).

Plain ASGI without a framework: five routes do not need a router, and an assign is on the way of every project that opens.
"""
