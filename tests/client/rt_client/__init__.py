"""A client of `rt.v1` written from docs/protocol.md alone: it shares no code with the server.

`codec` and `connection` are one socket; `member` is what an app would hold (it outlives sockets);
`log` is what a member saw; `checker` proves that what everybody saw is one history.
"""
