"""Helpers that the tests of several areas share. docs/testing.md draws which stands for what.

In reading order:

nodes                      whole nodes in one process; every frame of their actors can be intercepted
node_commands              nodes started with `sdnode up`, and commands against them
node_and_user_commands     several nodes and users by commands, with everything that they write
command_runner             runs a command and checks how a mistake ended
command_process, terminal  a running command with pipes, or on a pseudo-terminal
fake_node                  a fake node behind a control socket
gateway_actor, swarm_actors, vault_actor    one real actor with a fake supervisor
tiny_node, tiny_actors     the real supervisor over tiny actors
session_simulation, simulated_vault_and_swarm, simulated_peer, safety_properties
                           real session machines in virtual time, and what must hold of them
simulated_dht              the real discovery core in a simulated DHT
scripted_attempt, protocol_reference    one attempt frame by frame; a second implementation
library_hosts              plain libp2p hosts with and without the corrections
peer_device, stranger_peer              a device, and a peer that writes any bytes, on the network
compromised_actor, compromised_session  actors under an attacker's control
message_unions, sample_frames, hostile_bytes, hostile_frames_actor    messages, and bytes made from them
counted_pairing            one pairing with everything that passed
function_calls             what something costs in calls of functions
secret_sweep               the search for secrets after every test
faults                     kills, pulled cables, cut connections, misbehaving actors
"""
