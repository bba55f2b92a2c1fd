"""Starts, restarts and connects the actors; never parses a byte from another machine.

specs      child specifications as data
channel    frames over a trio stream: the one form in which two of our processes talk
routes     who may send which kind to whom, and what becomes of it (data)
ledger     sans-IO: inboxes and checkpoints; applies a Step as a whole
standing   sans-IO: messages that are kept for restarted receivers
effects    what the ledger wants done, as data
restart    sans-IO: restart policy (permanent/transient/temporary, intensity, backoff, poison)
host       the seam between the tree and what actors run in
process    actors as processes: the supervisor's side of the fork server
zygote     the fork server process; control: what the two say to each other
sandbox    what a forked actor gives up
landlock   files: none but its own; seccomp: system calls, none but those of allowed
tasks      the same actors as trio tasks of this process, for tests
entry      what runs an actor in either, and reports its crash without quoting values
link       one incarnation as the supervisor sees it: outbox, writer, reader, heartbeat
member     one child of the tree: its specification, its present incarnation, its history
desk       what the supervisor is asked and tells: ListActors, Shutdown, AreYouAlive, measurements
tree       the supervisor itself: starts in order, stops in reverse order, applies the ledger's effects
"""
