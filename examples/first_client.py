import json, sys, time
from websockets.sync.client import connect

url, token = sys.argv[1:]
with connect(url, subprotocols=["rt.v1.json"]) as socket:
    socket.send(json.dumps({"id": 1, "connect": {"token": token, "subs": {"near": {"mode": "map"}}}}))
    socket.send(json.dumps({"pos": [51.3767, 0.7313, 10, time.time_ns() // 10**6]}))
    for message in socket:
        print(message, flush=True)
        if "{}" in message.splitlines():
            socket.send("{}")
