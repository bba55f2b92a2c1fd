"""A device on the network that a test controls: a libp2p host, a device key, and the protocol's pure core.

It plays its role correctly unless a test makes it do otherwise, and keeps every frame that it receives.
"""

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from os import urandom
from typing import Any

import msgspec
import trio
import varint
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.kad_dht.pb.kademlia_pb2 import Message as KadMessage
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from spacedrive_node.actors.swarm.kad.dht_client import encode_request
from spacedrive_node.actors.swarm.library import host_factory, host_lifecycle, streams
from spacedrive_node.messages.actor_configs import SwarmConfig
from spacedrive_node.messages.base import encode
from spacedrive_node.messages.peer_protocol import (
    PROTOCOL_ID,
    DecisionReceived,
    DeviceInfo,
    PairingDecision,
    Refused,
    decode_device_info,
    decode_wire,
)
from spacedrive_node.messages.to_vault import StoreDevice
from spacedrive_node.messages.types import PeerAddresses
from spacedrive_node.protocol.attempt import JoinerAttempt
from spacedrive_node.protocol.code import CodeKeys, derive
from spacedrive_node.protocol.code import parse_words as parse
from spacedrive_node.protocol.identity import device_id, make_info, signing_input
from spacedrive_node.protocol.pairing_secrets import PairingSecrets
from spacedrive_node.tests.harness.transports import listen_addresses, more_transports

KAD = SwarmConfig(listen=()).dht_protocol
DEADLINE = 60.0
Answer = Callable[[bytes, bytes], Awaitable[bytes | None]]
"""Called with (peer, frame). Returns the frame to answer with, None to reset the stream."""
Alter = Callable[[DeviceInfo], DeviceInfo]


@dataclass
class JoinerRun:
    """The frames and values of one attempt in which this device is the joiner."""

    crypto: JoinerAttempt
    challenge: bytes
    info: bytes
    signature: bytes
    th1: bytes
    response: bytes
    answer: bytes
    proven: PairingSecrets | None = None


@dataclass
class PeerDevice:
    """One device. `answer` serves the pairing protocol."""

    host: Any
    name: str = "Other"
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    answer: Answer | None = None
    requests: list[tuple[bytes, bytes]] = field(default_factory=list)
    requested: trio.Event = field(default_factory=trio.Event)
    _connections: dict[bytes, Any] = field(default_factory=dict)

    @property
    def peer(self) -> bytes:
        return bytes(self.host.get_id().to_bytes())

    @property
    def public_key(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(str(address) for address in self.host.get_transport_addrs())

    @property
    def bootstrap(self) -> str:
        return f"{self.addresses[0]}/p2p/{self.host.get_id()}"

    # Requests to a node

    async def connect(self, node: Any, *, again: bool = False) -> Any:
        """Return the connection with a node, a new one with `again`."""
        peer = node.ready.peer
        if again or peer not in self._connections:
            network = self.host.get_network()
            self._connections[peer] = await network.dial_addr(Multiaddr(node.ready.addresses[0]), ID(peer))
        return self._connections[peer]

    async def exchange(self, node: Any, frame: bytes, *, again: bool = False) -> bytes | None:
        """Send one frame. Return the answer, None if the stream was reset."""
        with trio.fail_after(DEADLINE):
            connection = await self.connect(node, again=again)
            try:
                async with streams.open_stream(connection, PROTOCOL_ID) as stream:
                    await streams.write_frame(stream, frame)
                    return await streams.read_frame(stream)
            except streams.StreamError:
                return None

    async def refusal_reason(self, node: Any, frame: bytes, *, again: bool = False) -> str:
        """Send one frame. Return the reason of a refusal, or the kind of the answer."""
        answer = await self.exchange(node, frame, again=again)
        if answer is None:
            return "reset"
        message = decode_wire(answer)
        return message.reason if isinstance(message, Refused) else type(message).__name__

    def begin(self, node: Any, keys: CodeKeys) -> JoinerAttempt:
        return JoinerAttempt.begin(
            auth_key=keys.auth_key,
            route_key=keys.route_key,
            initiator=node.ready.peer,
            joiner=self.peer,
            attempt=urandom(16),
            ephemeral=urandom(32),
            nonce=urandom(32),
        )

    async def prove(
        self, node: Any, keys: CodeKeys, alter: Alter | None = None, signature: bytes | None = None
    ) -> JoinerRun:
        """Go through exchanges 1 and 2. `alter` changes the DeviceInfo that this device sends."""
        crypto = self.begin(node, keys)
        challenge = await self.exchange(node, crypto.request_frame)
        assert challenge is not None
        th1 = crypto.verify_challenge(challenge)
        info = make_info(
            public_key=self.public_key, name=self.name, os="test", app_version="1", nonce=crypto.nonce
        )
        if alter is not None:
            info = encode(alter(decode_device_info(info)))
        signed = signature or self.key.sign(signing_input("joiner", th1, self.peer, info))
        response = crypto.respond(challenge, info, signed)
        answer = await self.exchange(node, response)
        assert answer is not None
        return JoinerRun(crypto, challenge, info, signed, th1, response, answer)

    def finish(self, run: JoinerRun) -> PairingSecrets:
        """Open the confirmation, and acknowledge the node's decision from now on."""
        run.proven, _other = run.crypto.open_confirmation(run.challenge, run.response, run.answer)
        proven = run.proven

        async def acknowledge(_peer: bytes, frame: bytes) -> bytes:
            return proven.received_frame(frame)

        self.answer = acknowledge
        return proven

    # Requests of a node

    async def serve(self, stream: Any) -> None:
        peer = bytes(stream.muxed_conn.peer_id.to_bytes())
        frame = await streams.read_frame(stream)
        self.requests.append((peer, frame))
        self.requested.set()
        answer = None if self.answer is None else await self.answer(peer, frame)
        if answer is None:
            await streams.reset(stream)
            return
        await streams.write(stream, len(answer).to_bytes(4, "big") + answer)
        await streams.close(stream)

    # DHT

    async def announce(self, server: Any, key: bytes) -> None:
        """Announce this device to a server as provider of `key`."""
        connection = await self.connect(server)
        data = encode_request("add_provider", key, self.peer, self.addresses)
        async with streams.open_stream(connection, KAD) as stream:
            await streams.write(stream, varint.encode(len(data)) + data)
            try:
                await streams.read_varint_message(stream, 1 << 16)
            except streams.StreamError as error:
                # A server that only closes the stream has taken it, one that resets it takes no more.
                if not error.clean and "StreamReset" not in str(error):
                    raise

    async def providers(self, server: Any, key: bytes) -> list[bytes]:
        """Return the providers of `key` that a server names."""
        data = encode_request("get_providers", key, self.peer, ())
        async with streams.open_stream(await self.connect(server), KAD) as stream:
            await streams.write(stream, varint.encode(len(data)) + data)
            answer = KadMessage()
            answer.ParseFromString(await streams.read_varint_message(stream, 1 << 20))
        return [bytes(entry.id) for entry in answer.providerPeers]

    def serve_dht(self, reply: Callable[[KadMessage], bytes]) -> None:
        """Serve the DHT: answer every request with what `reply` returns."""

        async def handle(stream: Any) -> None:
            request = KadMessage()
            request.ParseFromString(await streams.read_varint_message(stream, 1 << 16))
            data = reply(request)
            await streams.write(stream, varint.encode(len(data)) + data)
            await streams.close(stream)

        self.host.set_stream_handler(KAD, handle)

    # Forgeries for a compromised session

    def forged_store(self, run: JoinerRun, th3: bytes, request: int = 1000, **changes: Any) -> StoreDevice:
        """Return a StoreDevice with the true identity of this device in `run`, and invented secrets."""
        name = run.crypto.code_id, run.crypto.attempt
        values: dict[str, Any] = {
            "request": request,
            "role": "joiner",
            "th": run.th1,
            "peer": self.peer,
            "info": run.info,
            "signature": run.signature,
            "response": run.response,
            "confirmation": run.answer,
            "th3": th3,
            "secret": b"s" * 32,
            "decision": encode(PairingDecision(*name, b"1" * 32)),
            "expected_mac": b"m" * 32,
            "peer_decision": encode(PairingDecision(*name, b"2" * 32)),
            "reply": encode(DecisionReceived(*name, b"r" * 32)),
            "deadline": math.inf,
        }
        return StoreDevice(**(values | changes))


@asynccontextmanager
async def open_device(name: str = "Other", *, listen: bool = True) -> AsyncIterator[PeerDevice]:
    """Run a device on loopback."""
    seed = urandom(32)
    host = host_factory.new_host(create_new_key_pair(seed), 300, list, more_transports(seed))
    device = PeerDevice(host, name)
    host.set_stream_handler(PROTOCOL_ID, device.serve)
    async with host_lifecycle.run_host(host):
        if listen:
            for address in listen_addresses():
                await host.get_network().listen(Multiaddr(address))
        yield device


@asynccontextmanager
async def open_devices(count: int) -> AsyncIterator[list[PeerDevice]]:
    """Run `count` devices at once."""
    opened: list[PeerDevice] = []
    enough = trio.Event()

    async def run() -> None:
        async with open_device() as device:
            opened.append(device)
            if len(opened) == count:
                enough.set()
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(run)
        await enough.wait()
        yield opened
        nursery.cancel_scope.cancel()


def kad_answer(providers: Sequence[PeerAddresses], closer: Sequence[PeerAddresses] = ()) -> bytes:
    """Return a Kademlia answer that names these peers."""
    answer = KadMessage()
    answer.type = KadMessage.MessageType.GET_PROVIDERS
    for entries, named in ((answer.providerPeers, providers), (answer.closerPeers, closer)):
        for one in named:
            entry = entries.add()
            entry.id = one.peer
            entry.addrs.extend(Multiaddr(text).to_bytes() for text in one.addresses)
    return bytes(answer.SerializeToString())


def addresses_of(device: PeerDevice) -> PeerAddresses:
    return PeerAddresses(device.peer, device.addresses)


def code_keys_of(words: Sequence[str]) -> CodeKeys:
    return derive(parse(" ".join(words)))


def with_key(info: DeviceInfo, public_key: bytes) -> DeviceInfo:
    return msgspec.structs.replace(info, public_key=public_key, device_id=device_id(public_key))
