"""Starts, restarts and connects the actors; never parses a byte from another machine.

The modules, in the order in which they are best read:

child_specs        child specifications as data: what to run, with which configuration, restarts and sandbox
spawner            what the tree needs from that in which its actors run: Spawner, RunningChild
tree               the supervisor itself: starts, stops, and applies what the others decide
child              one child over all its incarnations
child_channel      the supervisor's end of one incarnation's channel: outbox, heartbeat, kill
channel            frames over a stream, on trio or blocking

ledger             sans-IO: inboxes and checkpoints; a Step is applied as one
actor_record       what the ledger keeps of one actor
ledger_effects     what the ledger has the tree do, as data
standing_messages  sans-IO: messages kept for receivers that restart
routes             who may send which kind of message to whom, as data
restart_policy     sans-IO: whether to restart (permanent, transient, temporary; intensity, backoff, poison)

log_budget         sans-IO: how much one actor may write into the log
introspection      answers ListActors, Shutdown and AreYouAlive
metrics            the supervisor's metrics
memory_usage       the memory of one process, from /proc

systemd_notify     tells the service manager: ready, stopping, and that the loop runs

process_spawner    actors as processes: spares, and the restart of a lost fork server
fork_client        the connection with one fork server
fork_queue         whose turn it is to be forked: so many at a time, singletons first
waiting_spare      a spare while it waits: its heartbeat, and what it says meanwhile
child_process      one forked child: pidfd, channel, exit status
orphans            the children of a lost fork server, as the first process of a container has to end them
fork_protocol      the messages between the supervisor and the fork server
fork_server        the fork server's process, and what it does in each child before the actor runs
memory_handover    how each child's own view of its memory gets to the supervisor
process_title      the names by which ps and top show a process
actor_entry        loads and runs an actor's entry, and reports its crash without quoting values
task_spawner       the same actors as trio tasks, for tests

sandbox            what a forked child gives up, step by step
namespaces         empty namespaces, created once and joined by every actor without network access
landlock           no files except its own
seccomp            no system calls except those of syscall_allowlist
syscall_allowlist  the system calls, as data
libc               calls of the C library that Python does not offer
"""
