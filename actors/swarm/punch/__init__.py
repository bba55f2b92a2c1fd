"""Direct upgrade: two peers that have met at a relay punch through their NATs (docs/decisions/0018).

In reading order:

upgrade.py     whose relayed connections are upgraded, and what becomes of them afterwards
attempt.py     one attempt: dials over TCP and QUIC at once, the first connection wins
exchange.py    who says what when: both roles of DCUtR
candidates.py  which addresses are told, and which are dialled
limits.py      how much is sent, to whom, how often
messages.py    the messages, read and written
"""
