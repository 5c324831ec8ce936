"""The proxies by which workers of some pools reach names, and nothing else: one Squid for each such pool.

`configuration`  what Squid is told, made of the pool's names
`launch`         what runs until it becomes Squid: without rights, and to end with the service
`proxy`          one Squid, as the service starts and watches it
`keeper`         has one for each pool whose network is there
"""
