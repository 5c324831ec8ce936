"""HTTP as this service speaks it: which connections there may be, and what may come and go on them.

`uvicorn_server`     uvicorn with our settings; `listening` binds the addresses
`connections`        how many connections there may be, and which one makes room
`protocol`           one connection: joins the parts below
`limits`             the numbers, in bytes, fields and seconds, and the replies to what exceeds them
`incoming_message`   how far the request that is coming in has come, and which limit it breaks
`short_requests`     requests that come in one packet and are answered without a task
`reply_writer`       a whole reply as bytes
`outlet`             how it is sent, and how the connection ends; `deadline` is its timer
`upgrades`           which request becomes a WebSocket (`websocket`), and the body of one that does not
`streamed_response`  a response that goes on, such as a log
`request_body`       the body of a request, read whole
"""
