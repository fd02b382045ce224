"""Python's `websockets` at the WebSocket door: URL, SESSION, then how.

follow   subscribes, prints each message, and says goodbye when it sees the last price it waits for; asks for a pong before it does
linger   subscribes and says nothing for a while, so that it is the server that asks
wrong    shows what a refused token is answered

Prints lines: `message JSON`, `pong`, `closed CODE REASON`.
"""

import asyncio
import json
import sys

import websockets

LAST_PRICE = 77
LINGER_SECONDS = 1.2


async def main(url, session, how):
    async with websockets.connect(url) as connection:
        try:
            await _talk(connection, session, how)
        except websockets.ConnectionClosed:
            pass
        await connection.wait_closed()
        print("closed", connection.close_code, connection.close_reason, flush=True)


async def _talk(connection, session, how):
    await connection.send(json.dumps({"op": "authentication", "id": 1, "appKey": "k", "session": session}))
    await connection.send(json.dumps({"op": "marketSubscription", "id": 2, "heartbeatMs": 500}))
    if how == "linger":
        await asyncio.sleep(LINGER_SECONDS)
        return await connection.close(1000, "enough")
    async for message in connection:
        print("message", message, flush=True)
        if not _is_last(json.loads(message)):
            continue
        await (await connection.ping(b"are you there"))
        print("pong", flush=True)
        await connection.close(1000, "done")


def _is_last(message):
    return any(runner.get("ltp") == LAST_PRICE for change in message.get("mc", []) for runner in change.get("rc", []))


asyncio.run(main(*sys.argv[1:]))
