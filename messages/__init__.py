"""The ground floor: every message that crosses a boundary, as pure data.

Owns the shapes of all messages between actors, on the control socket and on the wire, and one codec.
Does no I/O, holds no state, imports nothing else of the project.

    types     bounded scalars that the others share
    base      the Message base class, encode/decode of single messages, frames with a length
    frames    between the supervisor and one child (docs/architecture.md, "Steps")
    wire      between two devices (docs/protocol.md)
    control   between a client and the gateway (docs/interfaces.md, "Control socket")
    to_*      what each receiver accepts: one closed union each
    config    what each actor is told at its start
"""
