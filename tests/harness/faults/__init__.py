"""Faults: kills, stopped processes, pulled cables, cut connections, actors that misbehave.

In reading order:

message_tap          sees each message of a pairing as it leaves or reaches an actor, and can hold it
fault_injector       kills or stops an actor at a phase of a session, or alters its steps
misbehaving_actor    the alterations: floods, forbidden and wrong messages
tcp_relay            a relay before one node that cuts connections or goes silent
udp_relay            the same of UDP: it forgets mappings, and loses or holds datagrams
relays               which of them a transport needs
failure_points       every message of a pairing, before and after
node_process         a program that runs one node and holds it at chosen messages
device_under_test    starts, stops, kills and restarts such a program
cable_network        hosts whose network cable can be pulled
device_pair          two devices under test, and what they may leave behind
vanishing_device     one of the two vanishes at chosen failure points
end_state_checks     what must hold afterwards
process_killer       kills actors at random, and remembers every process
chaos_run            pairings under random kills
waiting              waits for a condition, with a deadline
"""
