"""Circuit relay v2: peers that cannot reach each other meet at a third one (docs/decisions/0013-relay.md).

In reading order:

relaying.py        both sides, put together for one node
client.py          keeps reservations at relays, dials and is dialled through them
relay_choice.py    which relays are kept, and when they are asked
circuit_stream.py  a circuit as the stream of bytes beneath Noise
service.py         this node as a relay
limits.py          what a relay grants
messages.py        the messages, read and written
vouchers.py        what a relay signs
"""
