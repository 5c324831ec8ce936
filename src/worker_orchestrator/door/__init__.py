"""The door to previews: a process of its own that relays what comes for `my-project.localhost` to that project's worker.

The service listens. A connection whose request names a preview's host is handed to this process, with the bytes that were
read of it (`channel`); from then on the service has nothing to do with it. Where a host leads is asked of the service.

`process`      what runs here, and the connection to the service
`clients`      which addresses are one client
`connections`  how many there may be, and which of them make room for others
`channel`      frames between the two processes, and the sockets that go with them
`stream`       one TCP connection, as both sides of a relay use it
`heads`        the heads of requests and replies, read strictly
`bodies`       where a body ends
`forwarding`   what of a head goes on to the other side
`visitor`      one connection of a client: request after request
`exchange`     one request and its reply, with a worker
`workers`      connections to workers that wait for the next request
`admission`    what a visitor shows to be let in
`purpose`      what a request is for
`refusals`     how often one client may ask for what leads to no worker
`messages`     what the two processes tell each other
`routes`       where hosts lead, as the service said
`pages`        what is shown in the place of a worker
"""
