"""DHT servers in virtual time that join through one of them, each with a discovery of its own.

What is played and what is real is as in benchmarks/virtual_dht.py.
"""

import hashlib

from spacedrive_node.benchmarks.virtual_dht import VirtualDht, VirtualNode
from spacedrive_node.messages.to_discovery import Find, StartProviding
from spacedrive_node.messages.types import PeerAddresses

INSTANCE = "0" * 16
ANNOUNCING, SEARCHING = "session-" + "a" * 16, "session-" + "b" * 16


class VirtualServers(VirtualDht):
    """A server that is there, the door, and so many that know it alone and start at the same moment."""

    def __init__(self, seed: str, servers: int) -> None:
        super().__init__(seed, 0, one_way_s=0.02)
        self._own_nodes: dict[bytes, VirtualNode] = {}
        self.door = self._start_server(())
        for _ in range(servers):
            self._start_server((self.door,))

    def _start_server(self, bootstrap: tuple[PeerAddresses, ...]) -> PeerAddresses:
        peer, host = self._new_peer()
        node = self.start(peer, host, bootstrap, serves_dht=True)
        self._own_nodes[peer] = node
        self._enter(self._new_server(peer, host, node.table))
        return node.named

    def end_door(self) -> None:
        """Let the door vanish, and everybody forget it."""
        self.end(self._own_nodes.pop(self.door.peer))
        self._by_peer[self.door.peer].behaviour = "dead"
        for server in self.servers:
            server.table.remove(self.door.peer)

    def finds(self, code: int) -> bool:
        """Let a client of one server announce a code; return whether a client of another finds it in 5 s."""
        key = b"\x12\x20" + hashlib.sha256(str(code).encode()).digest()
        ways = self.draw.sample([one.named for one in self.servers if one.named != self.door], 2)
        a, b = (self.start(*self._new_peer(), (way,)) for way in ways)
        self.tell(a, ANNOUNCING, StartProviding(key, INSTANCE))
        self.run(self.now + 2.0)
        self.tell(b, SEARCHING, Find(key, INSTANCE))
        found = self.run(self.now + 5.0, lambda: a.named.peer in b.found)
        self.end(a)
        self.end(b)
        return found

    def _connect(self, node: VirtualNode, peer: bytes) -> float:
        took = super()._connect(node, peer)
        if peer in node.connected and peer in self._own_nodes:
            self._own_nodes[peer].connected.add(node.named.peer)
        return took

    def _identified(self, node: VirtualNode, server: bytes) -> None:
        """Both sides of a connection identify the other: a server that has connected enters the table too."""
        super()._identified(node, server)
        if node.named.peer in self._own_nodes and server in self._own_nodes:
            super()._identified(self._own_nodes[server], node.named.peer)
