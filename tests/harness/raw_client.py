"""A client of the control socket that may say anything, and does nothing by itself."""

import trio

from spacedrive_node.messages.base import CONTROL_LIMIT, FrameReader, Message, encode, frame
from spacedrive_node.messages.control_protocol import Reply, decode_reply


class RawClient:
    """Sends messages and reads what comes."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._reader = FrameReader(CONTROL_LIMIT)

    async def send(self, *messages: Message) -> None:
        await self.stream.send_all(b"".join(frame(encode(message), CONTROL_LIMIT) for message in messages))

    async def receive(self) -> Reply | None:
        """Return the next message, None at the end of the stream."""
        while (payload := self._reader.next_frame()) is None:
            data = await self.stream.receive_some(65536)
            if not data:
                return None
            self._reader.feed(data)
        return decode_reply(payload)
