"""Every message that crosses a boundary, as typed, bounded data: the lowest layer of the project.

Owns the shapes of all messages between actors, on the control socket and between devices, their bounds, and
the one codec. Does no I/O, holds no state, and imports nothing else of the project. In reading order:

    errors            the base of every exception
    types             bounded scalars and small records that several messages share
    secret_struct     structs that print nothing of the secrets in them
    session_names     the name of a session's actor, and the session's id in it
    base              the Message class, the codec, frames with a length
    peer_protocol     between two devices (docs/protocol.md, "Messages")
    child_protocol    between the supervisor and one child (docs/architecture.md, "Steps")
    control_protocol  between a client and the gateway (docs/interfaces.md, "Control socket")
    from_supervisor   what the supervisor itself sends, to several receivers
    to_session        what a session accepts: one closed union, as in each of the following
    to_swarm          what the swarm accepts
    to_discovery      what discovery accepts
    to_vault          what the vault accepts
    to_gateway        what the gateway accepts
    to_metrics        what metrics accepts, and the list of what is measured
    to_supervisor     what the supervisor accepts as a receiver
    actor_configs     what each actor is given at its start
    outcome_texts     the sentences that show a user how a pairing ended
"""
