"""Clients in Python against the server that is named on the command line.

python-socketio (sync and async) on the Purrr.chat dialect; websockets, aiohttp and
websocket-client on the native one. Each pair is matched and exchanges messages both ways in order.
"""

import asyncio
import base64
import json
import os
import queue
import re
import subprocess
import sys

import aiohttp
import engineio
import socketio
import websocket
import websockets

# By default this library gives up a session at an answer with more than 16 packets.
engineio.payload.Payload.max_decode_packets = 16_384

EVENTS = 200
SECONDS = 20

# A PNG of one white dot.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAG7buVgAAAABJRU5ErkJggg=="
)


class Server:
    """The server on a free port."""

    def __init__(self, program):
        options = ["--listen", "127.0.0.1:0", "--recent-partners", "0", "--log", "info"]
        # Variables of the server's own names would be options.
        env = {name: value for name, value in os.environ.items() if not name.startswith("PURRR_")}
        self.process = subprocess.Popen(
            [program, *options], env=env, stderr=subprocess.PIPE, text=True
        )
        for line in self.process.stderr:
            found = re.search(r"127\.0\.0\.1:\d+", line)
            if found:
                self.address = found.group()
                return
        raise SystemExit("the server did not start")

    def stop(self):
        self.process.terminate()
        self.process.communicate(timeout=60)
        assert self.process.returncode == 0, self.process.returncode


# ---- python-socketio, sync ----------------------------------------------------------------------


class SyncClient:
    def __init__(self, address, name, transports):
        self.events = queue.Queue()
        self.client = socketio.Client(reconnection=False)
        self.client.on("*", lambda event, *given: self.events.put([event, *given]))
        self.client.connect(f"http://{address}", transports=transports)
        self.client.emit("init_user", {"name": name, "publicKey": ""})
        self.client.emit("find_partner")
        self.gets("waiting")

    def gets(self, *expected):
        event = self.events.get(timeout=SECONDS)
        assert event == list(expected), (event, expected)


def sync_clients(address, transports):
    ann, bob = SyncClient(address, "Ann", transports), SyncClient(address, "Bob", transports)
    ann.gets("matched", {"partnerName": "Bob", "partnerPk": ""})
    bob.gets("matched", {"partnerName": "Ann", "partnerPk": ""})
    for one, other in [(ann, bob), (bob, ann)]:
        for number in range(EVENTS):
            one.client.emit("chat message", str(number))
        for number in range(EVENTS):
            other.gets("chat message", str(number))
        one.client.emit("image upload", PNG)
        other.gets("image upload", PNG)
        # Waits for the acknowledgement.
        one.client.call("chat message", "once", timeout=SECONDS)
        other.gets("chat message", "once")
    ann.client.disconnect()
    bob.gets("hide_typing")
    bob.gets("partner_disconnected")
    bob.client.disconnect()


# ---- python-socketio, async ---------------------------------------------------------------------


class AsyncClient:
    def __init__(self):
        self.events = asyncio.Queue()
        self.client = socketio.AsyncClient(reconnection=False)
        self.client.on("*", self.take)

    async def take(self, event, *given):
        await self.events.put([event, *given])

    async def enter(self, address, name, transports):
        await self.client.connect(f"http://{address}", transports=transports)
        await self.client.emit("init_user", {"name": name, "publicKey": ""})
        await self.client.emit("find_partner")
        await self.gets("waiting")
        return self

    async def gets(self, *expected):
        event = await asyncio.wait_for(self.events.get(), SECONDS)
        assert event == list(expected), (event, expected)


async def async_clients(address, transports):
    ann = await AsyncClient().enter(address, "Ann", transports)
    bob = await AsyncClient().enter(address, "Bob", transports)
    await ann.gets("matched", {"partnerName": "Bob", "partnerPk": ""})
    await bob.gets("matched", {"partnerName": "Ann", "partnerPk": ""})
    for one, other in [(ann, bob), (bob, ann)]:
        for number in range(EVENTS):
            await one.client.emit("chat message", str(number))
        for number in range(EVENTS):
            await other.gets("chat message", str(number))
        await one.client.emit("image upload", PNG)
        await other.gets("image upload", PNG)
        await one.client.call("chat message", "once", timeout=SECONDS)
        await other.gets("chat message", "once")
    await ann.client.disconnect()
    await bob.gets("hide_typing")
    await bob.gets("partner_disconnected")
    await bob.client.disconnect()


# ---- Native dialect -----------------------------------------------------------------------------


class Websockets:
    async def enter(self, address):
        self.socket = await websockets.connect(f"ws://{address}/ws", subprotocols=["purrr.v1"])
        return self

    async def send(self, text):
        await self.socket.send(text)

    async def next(self):
        return await self.socket.recv()

    async def close(self):
        await self.socket.close()
        assert self.socket.close_code == 1000, self.socket.close_code


class Aiohttp:
    async def enter(self, address):
        self.session = aiohttp.ClientSession()
        self.socket = await self.session.ws_connect(f"http://{address}/ws", protocols=["purrr.v1"])
        return self

    async def send(self, text):
        await self.socket.send_str(text)

    async def next(self):
        message = await self.socket.receive()
        return message.data

    async def close(self):
        await self.socket.close()
        assert self.socket.close_code == 1000, self.socket.close_code
        await self.session.close()


class WebsocketClient:
    """A blocking client, on threads."""

    async def enter(self, address):
        url = f"ws://{address}/ws"
        self.socket = await asyncio.to_thread(
            websocket.create_connection, url, SECONDS, subprotocols=["purrr.v1"]
        )
        return self

    async def send(self, text):
        await asyncio.to_thread(self.socket.send, text)

    async def next(self):
        return await asyncio.to_thread(self.socket.recv)

    async def close(self):
        await asyncio.to_thread(self.socket.close)


async def next_of(client, wanted):
    """Returns the next object of this type, and answers heartbeats of the program."""
    while True:
        received = json.loads(await asyncio.wait_for(client.next(), SECONDS))
        if received["type"] == wanted:
            return received
        assert received["type"] in ("welcome", "waiting", "delivered", "pong"), received


async def native_clients(address, first, second):
    ann, bob = await first().enter(address), await second().enter(address)
    for one in (ann, bob):
        await next_of(one, "welcome")
        await one.send('{"type":"ping"}')
        await next_of(one, "pong")
        await one.send('{"type":"find"}')
        await next_of(one, "waiting")
    for one in (ann, bob):
        await next_of(one, "matched")
    for one, other in [(ann, bob), (bob, ann)]:
        for number in range(EVENTS):
            await one.send(json.dumps({"type": "message", "id": number, "text": f"é {number}"}))
        for number in range(EVENTS):
            received = await next_of(other, "message")
            assert received["id"] == number and received["text"] == f"é {number}", received
    await ann.close()
    received = await next_of(bob, "left")
    assert received["reason"] in ("left", "lost"), received
    await bob.close()


def main():
    server = Server(sys.argv[1])
    for transports in (["polling"], ["websocket"], ["polling", "websocket"]):
        sync_clients(server.address, transports)
        print("python-socketio, sync,", "+".join(transports), flush=True)
        asyncio.run(async_clients(server.address, transports))
        print("python-socketio, async,", "+".join(transports), flush=True)
    kinds = (Websockets, Aiohttp, WebsocketClient)
    for place, first in enumerate(kinds):
        second = kinds[(place + 1) % len(kinds)]
        asyncio.run(native_clients(server.address, first, second))
        print(first.__name__, "with", second.__name__, flush=True)
    server.stop()


if __name__ == "__main__":
    main()
