"""One end of a control socket that may say anything, and does nothing by itself."""

import trio

from spacedrive_node.messages.base import CONTROL_LIMIT, FrameReader, Message, encode, frame
from spacedrive_node.messages.control_protocol import Reply, Request, decode_reply, decode_request


class RawClient:
    """Sends messages and reads what comes."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._reader = FrameReader(CONTROL_LIMIT)

    async def send(self, *messages: Message) -> None:
        await self.stream.send_all(b"".join(frame(encode(message), CONTROL_LIMIT) for message in messages))

    async def receive(self) -> Reply | None:
        """Return the next message, None at the end of the stream."""
        payload = await self._next_payload()
        return None if payload is None else decode_reply(payload)

    async def receive_request(self) -> Request | None:
        """The same at the node's end."""
        payload = await self._next_payload()
        return None if payload is None else decode_request(payload)

    async def _next_payload(self) -> bytes | None:
        while (payload := self._reader.next_frame()) is None:
            data = await self.stream.receive_some(65536)
            if not data:
                return None
            self._reader.feed(data)
        return payload
