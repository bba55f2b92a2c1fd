"""A server that embeds a node, shaped like Spacedrive's: asyncio, HTTP, and an event stream. Run it with

    DATA_DIR=/srv/spacedrive PORT=8080 SD_AUTH=admin:secret SD_P2P=true python examples/server_asyncio.py

SD_AUTH is `user:password` or `disabled`. SD_P2P=false keeps the node to this host, PORT=0 takes a free port.
It listens on 127.0.0.1: put a proxy with TLS in front.

    POST /pairings               show a code: {"session","words"}; with {"code": …} enter one: {"session"}
    POST /pairings/ID/accept     or /reject: what the user says to the device and check value in the events
    DELETE /pairings/ID          give it up         GET /devices, DELETE /devices/ID   list, revoke
    GET /events                  server-sent events: the state of every pairing, now and at each change
    GET /health                  200 if the node is ready, else 503
"""

import asyncio
import base64
import hmac
import json
import os
import signal
from contextlib import closing, suppress
from typing import Any

from spacedrive_node import ControlError, Node, NodeConfig, NodeGoneError, SessionState, open_node

LIMIT_BYTES, REQUEST_TIMEOUT_S, KEEP_ALIVE_S = 16 * 1024, 30, 15
STATUS_OF_CODE = {"bad": 400, "no": 404, "already": 409}  # by its first word


def event(state: SessionState) -> dict[str, Any]:
    """Return what a page shows of a state: all but the code."""
    names = ("session", "role", "stage", "check", "accepted", "outcome", "fingerprint")
    return {"device": state.device and state.device.name, **{name: getattr(state, name) for name in names}}


async def answer(node: Node, method: str, path: list[str], body: bytes) -> tuple[int, Any]:
    """Return the status and the JSON that answer a request."""
    match method, path:
        case "POST", ["pairings"]:
            if code := json.loads(body or b"{}").get("code"):
                return 201, {"session": (await node.join_pairing(str(code))).id}
            shown = await node.start_pairing()
            return 201, {"session": shown.id, "words": " ".join(shown.code.words)}
        case "POST", ["pairings", id, "accept" | "reject" as decision]:
            pairing = await node.session(id)
            await (pairing.accept() if decision == "accept" else pairing.reject())
        case "DELETE", ["pairings", id]:
            await (await node.session(id)).cancel()
        case "GET", ["devices"]:
            devices = await node.devices()
            return 200, [{"id": d.device_id.hex(), "name": d.name, "peer_id": d.peer_id} for d in devices]
        case "DELETE", ["devices", id]:
            await node.forget(bytes.fromhex(id))
        case "GET", ["health"]:
            return (200 if (await node.status()).ready else 503), {}
        case _:
            return 404, {"error": "no such resource"}
    return 200, {}


async def stream_events(node: Node, writer: asyncio.StreamWriter) -> None:
    """Write each state until the browser has gone."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-store\r\n\r\n")
    states = node.all_states()
    while True:
        line = ": nothing new"  # so that a browser that has gone is noticed
        with suppress(TimeoutError):
            line = "data: " + json.dumps(event(await asyncio.wait_for(anext(states), KEEP_ALIVE_S)))
        writer.write(line.encode() + b"\n\n")
        await writer.drain()


async def serve(node: Node, auth: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the one request of a connection."""
    status, reply = 400, {"error": "not a request"}
    with suppress(ConnectionError, TimeoutError, NodeGoneError):
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
                method, target, _version = line.split(" ")
                pairs = (header.partition(":") for header in lines)
                headers = {name.lower(): value.strip() for name, _, value in pairs}
                body = await reader.readexactly(min(int(headers.get("content-length", 0)), LIMIT_BYTES))
                given = headers.get("authorization", "").removeprefix("Basic ").encode()
                is_allowed = auth == "disabled" or hmac.compare_digest(given, base64.b64encode(auth.encode()))
                if not is_allowed:
                    status, reply = 401, {"error": "give the user and password of SD_AUTH"}
                elif (method, target) != ("GET", "/events"):
                    status, reply = await answer(node, method, target.strip("/").split("/"), body)
            if is_allowed and (method, target) == ("GET", "/events"):
                await stream_events(node, writer)
        except ControlError as error:
            status = STATUS_OF_CODE.get(error.code.partition("_")[0], 503)
            reply = {"error": error.message, "code": error.code}
        except (ValueError, AttributeError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        head = f"HTTP/1.1 {status} -\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + json.dumps(reply).encode())
        await writer.drain()
    writer.close()


async def main() -> None:
    auth, p2p = os.environ.get("SD_AUTH", ""), os.environ.get("SD_P2P", "true")
    if (auth != "disabled" and ":" not in auth) or p2p not in ("true", "false"):
        raise SystemExit("SD_AUTH is user:password or disabled, and SD_P2P is true or false")
    port = int(os.environ.get("PORT", "8080"))
    async with open_node(NodeConfig(data_dir=os.environ["DATA_DIR"], offline=p2p == "false")) as node:
        server = await asyncio.start_server(lambda r, w: serve(node, auth, r, w), "127.0.0.1", port)
        print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
        if task := asyncio.current_task():
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with closing(server):
            raise await node.wait_ended()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt, asyncio.CancelledError):  # by Ctrl-C, by SIGTERM
        asyncio.run(main())
