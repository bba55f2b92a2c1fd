"""libp2p 0.8.1 as this project uses it: corrected, bounded, and without the parts that a node does not need.

Each correction's docstring names its defect, the place in the library and the test that shows it, so that the
correction can go when that test fails. docs/decisions/0004 is the list of all of them. Nothing outside of
this folder reaches into private names of the library.

In reading order:

host_factory.py       builds a host, with every correction that is made at construction
host_lifecycle.py     runs and closes a host; finds out whether a port is taken
security.py           the security protocols that are offered: Noise alone
connection_limits.py  bounds on inbound connections, for each address and in all
dialled_limits.py     a bound on those that this side has dialled
block_shares.py       what is open of each address block, and which of it makes room
crowds.py             a place for each of those who wait for a stranger, and who loses it
handshake_limits.py   how many handshakes over UDP may be open, and when a newcomer has to show its address
connections.py        one connection: is it alive, of which kind, from where; how it is closed
notifications.py      the library's events of connections, as two callbacks
tcp_sockets.py        TCP over IPv6: listeners of IPv6 alone, link-local addresses with their zone
udp_sockets.py        sockets of the transports over UDP
muxed_connection.py   what connections over UDP have in common: a multiplexed connection of the library
muxed_streams.py      the same of their streams, and which there are
dialing.py            switches off the library's own dialing
identify.py           identify: bounded, repeated when it failed, with a callback after it
ping.py               ping, which forgets who has pinged
peer_store.py         the peer store, bounded, and tolerant of peer records that arrive late
negotiation.py        multistream-select, bounded and in few packets
multiplexer.py        Yamux, bounded and in few packets
unread_bytes.py       a bound on what all connections hold unread, whatever their transport
paced_reads.py        how fast the frames of one connection are taken
stream_handlers.py    keeps exceptions and too many streams away from the host
streams.py            one stream: opened, read exactly, written, closed
library_logs.py       silences the library's log
lazy_imports.py       imports early what the library imports at first use
unused_modules.py     what is left out while libp2p is imported
"""
