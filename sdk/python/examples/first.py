import asyncio
import sys

from hereabouts_client import Client, Publication


async def main(url: str, token: str, room: str) -> None:
    async with Client(url, token) as client:
        here = client.subscribe(f"presence:{room}")
        talk = client.subscribe(room, limit=20)
        await talk.publish({"text": "hello"})
        async for event in talk:
            if isinstance(event, Publication):
                print(event.user, event.data, "seen by", len(here.users), flush=True)


asyncio.run(main(*sys.argv[1:]))
