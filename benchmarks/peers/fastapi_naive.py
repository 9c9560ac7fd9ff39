"""The peer: what one writes first with FastAPI. One process, a set of sockets, a loop that sends.

`/room` sends every text it gets to every socket, the sender's included. No tokens, no storage, no order
promised, no blocks.

    python benchmarks/peers/fastapi_naive.py PORT
"""

import sys

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

app = FastAPI()

room: set[WebSocket] = set()


@app.websocket("/room")
async def join_room(socket: WebSocket) -> None:
    await socket.accept()
    room.add(socket)
    try:
        while True:
            text = await socket.receive_text()
            for peer in list(room):
                await peer.send_text(text)
    except WebSocketDisconnect:
        pass
    finally:
        room.discard(socket)


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
        access_log=False,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        ws_max_queue=1024,
    )
