"""Every row of docs/protocol.md, "Limits", is reached by a test, which is named here."""

import re
from pathlib import Path

TESTS = Path(__file__).parent.parent
REACHED = {
    "frame": ("limits/test_swarm.py::test_a_frame_of_sixteen_kibibytes_is_read_and_no_larger_one",),
    "life of a code": (
        "session/test_outcomes.py::test_code_expires_when_nobody_comes",
        "session/test_outcomes.py::test_an_attempt_begun_in_time_outlives_the_code",
    ),
    "attempts open at once for a code": (
        "session/test_limits.py::test_one_attempt_per_peer_eight_in_all_then_busy",
        "limits/test_crowds.py::test_tens_of_peers_with_the_words_that_only_begin",
    ),
    "from Challenge to a valid ChallengeResponse": (
        "session/test_limits.py::test_time_to_prove_is_over_after_ten_seconds",
    ),
    "one exchange": (
        "limits/test_swarm.py::test_one_exchange_has_ten_seconds",
        "swarm/test_exchange.py::test_an_ask_ends_with_its_time_out",
    ),
    "connections at once": (
        "limits/test_swarm.py::test_strangers_who_take_all_connections_keep_nobody_out",
        "limits/test_swarm.py::test_connections_in_both_directions_keep_nobody_out",
        "limits/test_swarm.py::test_lookups_leave_room_for_a_pairing",
        "swarm/test_dialled_limits.py::test_a_dial_finds_room",
        "swarm/test_dialled_limits.py::test_a_stream_of_the_other_side_keeps_no_place",
        "swarm/test_connection_limits.py::test_the_connection_that_makes_room_is_one_of_a_crowd",
    ),
    "exchanges that run at once, of all peers": (
        "limits/test_swarm.py::test_strangers_who_hold_all_exchanges_keep_nobody_out",
        "swarm/test_exchange_slots.py::test_slots_of_a_peer_are_bounded",
        "swarm/test_exchange_slots.py::test_slots_of_a_block_are_bounded",
        "swarm/test_exchange_slots.py::test_slots_of_this_host_are_not_bounded_by_its_block",
        "swarm/test_exchange_slots.py::test_when_all_slots_are_taken_those_who_hold_most_make_room",
        "swarm/test_exchange_slots.py::test_strangers_cannot_keep_anybody_out",
    ),
    "bytes that peers have sent and nobody has read": (
        "limits/test_multiplexer.py::test_what_exceeds_the_window_is_not_kept",
        "limits/test_multiplexer.py::test_what_all_connections_hold_together_is_bounded",
        "limits/test_multiplexer.py::test_bytes_that_are_announced_count_as_bytes_that_are_there",
    ),
    "the same over QUIC": (
        "quic/test_connections.py::test_a_stream_that_nobody_reads_holds_a_quarter_of_a_mebibyte",
        "quic/test_connections.py::test_all_streams_of_a_connection_together_hold_no_more_than_its_window",
        "quic/test_connections.py::test_of_all_connections_the_one_that_holds_most_goes",
    ),
    "the same over WebRTC": (
        "webrtc/test_connections.py::test_what_nobody_reads_stops_its_sender_and_no_byte_is_lost",
        "webrtc/test_sctp.py::test_a_peer_that_ignores_the_window_fills_no_memory",
    ),
    "handshakes of WebRTC that are open": (
        "webrtc/test_hostile.py::test_many_open_handshakes_make_newcomers_show_their_address",
        "webrtc/test_hostile.py::test_unfinished_handshakes_end_after_seconds",
    ),
    "strangers at a WebRTC port": (
        "webrtc/test_admission.py::test_strangers_have_a_pace_each_and_all_together",
    ),
    "parts of a WebRTC connection that came too early": (
        "webrtc/test_sctp.py::test_a_peer_that_ignores_the_window_fills_no_memory",
    ),
    "channels of a WebRTC connection whose end the peer has not confirmed": (
        "webrtc/test_connections.py::test_channels_whose_end_the_peer_never_confirms_are_bounded",
    ),
    "streams that a peer has open on one connection": (
        "limits/test_multiplexer.py::test_streams_of_one_connection_are_bounded",
        "quic/test_connections.py::test_a_peer_has_a_bounded_number_of_streams_open",
        "webrtc/test_connections.py::test_streams_are_bounded",
    ),
    "streams that one source opens, over all its connections": (
        "swarm/test_stream_handlers.py::test_the_streams_of_one_source_are_served_at_a_pace",
    ),
    "streams that a peer opens on one QUIC connection": (
        "quic/test_hostile.py::test_streams_that_are_opened_and_reset_are_granted_at_a_rate",
    ),
    "streams that a node waits to open on one QUIC connection, until its peer lets it": (
        "quic/test_connections.py::test_streams_that_the_peer_never_lets_be_opened_are_bounded",
    ),
    "handshakes of QUIC that are open": (
        "quic/test_limits.py::test_handshakes_are_bounded_in_all_and_for_each_block",
        "quic/test_hostile.py::test_strangers_who_finish_no_handshake_keep_nobody_out",
        "quic/test_hostile.py::test_unfinished_handshakes_end_after_seconds",
        "limits/test_crowds.py::test_three_hundred_idle_sockets",
        "quic/test_hostile.py::test_a_handshake_that_never_ends_is_ended",
    ),
    "a packet that the socket does not take (TCP, WebSocket)": (
        "swarm/test_cancelled_writes.py::test_a_peer_that_takes_nothing_loses_its_connection",
    ),
    "parts of a QUIC stream that are missing": (
        "quic/test_hostile.py::test_a_stream_full_of_holes_ends_the_connection",
    ),
    "WebSocket before its frames (TLS, HTTP)": (
        "websocket/test_forwarded.py::test_upgrades_are_bounded_in_all_and_for_each_block",
        "websocket/test_hostile.py::test_idle_sockets_of_one_block_are_bounded",
        "websocket/test_hostile.py::test_half_a_request_is_given_up",
        "websocket/test_tls.py::test_half_a_handshake_is_given_up",
    ),
    "head of an HTTP request or answer": (
        "websocket/test_upgrade.py::test_a_request_is_bounded_also_when_it_comes_in_parts",
        "websocket/test_upgrade.py::test_what_is_no_request_is_refused",
        "websocket/test_upgrade.py::test_a_client_takes_no_other_answer",
    ),
    "message of a WebSocket": (
        "websocket/test_frames.py::test_a_message_is_bounded",
        "websocket/test_frames.py::test_bytes_come_before_their_frame_is_complete",
        "websocket/test_hostile.py::test_what_nobody_reads_stays_with_the_peer",
    ),
    "frames of a WebSocket without bytes (pings, pongs, empty ones)": (
        "websocket/test_frames.py::test_frames_without_bytes_are_bounded_in_a_second",
        "websocket/test_hostile.py::test_a_flood_of_pings_ends_its_connection_alone",
    ),
    "upgrades of relayed connections at once": (
        "punch/test_upgrade.py::test_no_more_than_so_many_run_at_once",
    ),
    "one attempt to punch a hole": (
        "punch/test_limits.py::test_eight_addresses_at_most",
        "punch/test_limits.py::test_sixty_packets_at_most",
        "punch/test_upgrade.py::test_third_parties_that_a_peer_names_get_few_packets",
        "punch/test_upgrade.py::test_what_a_server_sends_to_third_parties_is_bounded_too",
        "punch/test_exchange.py::test_three_attempts_and_both_dial_at_the_same_moment",
        "punch/test_exchange.py::test_an_answer_that_takes_long_makes_nobody_wait_long",
    ),
    "attempts to punch a hole to one address block": (
        "punch/test_limits.py::test_an_address_block_is_dialled_nine_times_a_minute_whoever_names_it",
    ),
    "reservations at a relay": (
        "relay/test_limits.py::test_reservations_have_a_bound_in_all",
        "relay/test_limits.py::test_an_address_block_has_four_reservations",
        "relay/test_limits.py::test_a_reservation_ends_by_itself",
    ),
    "circuits at a relay": (
        "relay/test_limits.py::test_circuits_have_bounds_in_all_for_each_peer_and_block",
        "relay/test_limits.py::test_a_crowd_that_has_all_circuits_with_a_peer_makes_room_for_others",
        "relay/test_service.py::test_a_crowd_at_a_target_makes_room_for_who_comes_from_elsewhere",
        "relay/test_service.py::test_limits_are_told_to_who_is_beyond_them",
    ),
    "one circuit": (
        "relay/test_service.py::test_an_idle_circuit_ends_when_its_time_is_over",
        "relay/test_service.py::test_each_direction_has_its_own_bytes",
        "relay/test_service.py::test_a_slow_reader_fills_no_memory",
    ),
    "requests to a relay that have not come completely": (
        "relay/test_service.py::test_requests_that_do_not_come_completely_are_bounded",
        "relay/test_service.py::test_strangers_who_say_nothing_keep_nobody_from_a_relay",
    ),
    "circuits that come in through one relay": (
        "relay/test_client.py::test_a_relay_that_holds_circuits_open_gets_a_share",
    ),
    "messages of Kademlia and identify": (
        "limits/test_strangers_bytes.py::"
        "test_a_record_with_thousands_of_addresses_keeps_the_swarm_busy_for_no_time",
        "limits/test_strangers_bytes.py::"
        "test_an_answer_with_thousands_of_addresses_keeps_the_swarm_busy_for_no_time",
        "swarm/test_identify.py::test_a_message_above_64_kibibytes_is_not_read",
    ),
    "what is remembered of a peer": (
        "limits/test_strangers_bytes.py::test_what_is_read_of_identify_is_bounded",
        "swarm/test_peer_store.py::test_a_peer_has_32_addresses_at_most",
        "swarm/test_peer_store.py::test_protocols_and_metadata_of_a_peer_are_bounded",
        "swarm/test_peer_store.py::test_the_number_of_peers_is_bounded_at_insertion",
    ),
    "an answer of the DHT server": (
        "limits/test_strangers_bytes.py::test_a_server_stays_useful_whatever_a_stranger_says_of_itself",
        "swarm/test_dht_server.py::test_the_largest_answer_is_one_that_our_client_reads",
    ),
    "what is remembered over restarts": (
        "vault/test_peer_scores.py::test_when_all_is_full_the_fullest_network_makes_room",
        "vault/test_peer_scores.py::test_two_relays_of_a_block_and_32_in_all",
        "vault/test_peer_scores.py::test_devices_are_bounded_too",
        "vault/test_peer_scores.py::test_of_a_peer_eight_addresses_are_kept_the_newest_first",
    ),
    "remembered of one address block": (
        "vault/test_peer_scores.py::test_an_address_block_has_eight_servers_and_the_first_of_equals_stay",
        "vault/test_peer_scores.py::test_two_relays_of_a_block_and_32_in_all",
        "vault/test_peer_scores.py::test_a_liar_with_a_network_of_its_own_gets_a_share_and_no_more",
        "vault/test_peer_scores.py::test_the_same_of_ipv6_where_a_network_has_any_number_of_blocks",
    ),
    "names to one bootstrap peer": (
        "swarm/test_dnsaddr.py::test_a_chain_ends_at_its_depth",
        "swarm/test_dnsaddr.py::test_a_tree_of_names_ends_at_their_number",
        "swarm/test_dnsaddr.py::test_a_thousand_addresses",
        "swarm/test_name_servers.py::test_a_name_server_that_is_silent_holds_up_nothing_else",
    ),
    "an answer of a name server": (
        "swarm/test_txt_messages.py::test_a_thousand_records",
        "swarm/test_txt_messages.py::test_what_is_too_long_or_cannot_be_printed_is_left_out",
        "swarm/test_name_servers.py::test_whatever_a_server_says_it_ends_in_time",
        "swarm/test_name_servers.py::test_tcp_that_promises_much_and_sends_nothing",
    ),
    "handshakes with one source (an IPv4 address, an IPv6 block)": (
        "swarm/test_connection_limits.py::test_handshakes_of_one_source_begin_at_a_pace",
        "swarm/test_connection_limits.py::test_the_pace_of_a_swarm_leaves_loopback_out",
        "swarm/test_connection_limits.py::test_idle_sockets_of_one_address_leave_slots",
        "swarm/test_connection_limits.py::test_idle_sockets_of_many_addresses_make_room",
    ),
    "streams of the DHT server at once": (
        "swarm/test_dht_server.py::test_silent_streams_do_not_stop_the_dht",
        "swarm/test_dht_server.py::test_a_crowd_that_holds_all_streams_makes_room",
        "swarm/test_dht_server.py::test_a_silent_stream_of_the_dht_ends",
    ),
    "requests to the DHT server": (
        "swarm/test_dht_server.py::test_hundreds_of_requests_in_a_packet_wait_for_their_turn",
        "swarm/test_rate_limits.py::test_what_comes_too_fast_waits_for_its_turn",
    ),
    "AutoNAT: dials for others": (
        "reachability/test_dial_back_limits.py::test_one_at_once_for_each_peer_and_so_many_in_all",
        "reachability/test_dial_back_limits.py::test_a_block_and_everybody_have_their_rates",
        "reachability/test_autonat.py::test_requests_beyond_the_rate_are_rejected",
    ),
    "AutoNAT: one such dial": (
        "reachability/test_autonat.py::test_a_dial_and_a_nonce_have_their_times",
        "reachability/test_autonat.py::test_data_that_does_not_come_is_not_waited_for",
    ),
    "AutoNAT: questions of a node": (
        "reachability/test_checks.py::test_everything_is_bounded",
        "reachability/test_autonat.py::test_dial_data_has_a_budget",
    ),
    "ports that the gateway is asked to open": (
        "reachability/test_mapped_ports.py::test_eight_ports_are_asked_for",
        "lan/test_port_mapper.py::test_a_lease_of_a_century_is_renewed_all_the_same",
        "lan/test_port_mapper.py::test_an_answer_that_does_not_fit_maps_nothing",
    ),
    "provider records": (
        "swarm/test_provider_records.py::test_a_crowd_pushes_out_nobody_else",
        "swarm/test_provider_records.py::test_many_blocks_push_out_those_that_have_most",
        "swarm/test_provider_records.py::test_a_crowd_of_providers_does_not_take_a_key",
        "swarm/test_provider_records.py::test_the_first_provider_of_a_key_stays",
    ),
    "deciding": ("session/test_outcomes.py::test_a_user_who_never_decides",),
    "delivering a decision": ("session/test_outcomes.py::test_contact_lost_while_deciding",),
    "sessions at once on a node": (
        "limits/test_crowds.py::test_sessions_at_once",
        "supervisor/test_tree.py::test_sessions_full",
    ),
    "repeats": (
        "limits/test_swarm.py::test_ten_repeats_in_a_second_pass",
        "session/test_limits.py::test_more_than_ten_repeats_a_second_are_busy",
    ),
    "frames that cannot be decoded, or carry no valid code_id": (
        "limits/test_swarm.py::test_a_peer_with_thirty_is_shut_out_for_ten_minutes",
        "swarm/test_ban_list.py::test_a_peer_of_a_slow_block_is_banned_after_three_strikes",
    ),
    "the same from one address block": (
        "swarm/test_ban_list.py::test_fresh_peer_ids_make_their_block_slow_and_ban_nobody_else",
        "limits/test_swarm.py::test_three_hundred_useless_frames_of_an_address_block",
    ),
    "packets of mDNS that are read": (
        "lan/test_admission.py::test_one_who_sends_too_much_is_cut_and_then_blocked_for_a_while",
        "lan/test_admission.py::test_a_crowd_is_bounded_in_all",
        "lan/test_sockets.py::test_the_kernel_drops_what_blocked_senders_send",
    ),
    "one packet of mDNS": (
        "lan/test_dns_messages.py::test_what_is_no_message_is_refused",
        "lan/test_dns_messages.py::test_a_packet_that_is_made_to_be_slow_is_refused_at_once",
    ),
    "what mDNS names for one code": (
        "lan/test_browser.py::test_one_who_says_much_takes_little_room",
        "discovery/test_core.py::test_liars_on_the_lan_leave_room_for_others",
    ),
    "answers of mDNS": (
        "lan/test_responder.py::test_answers_to_single_devices_are_bounded",
        "lan/test_responder.py::test_many_codes_are_told_in_turns_and_each_of_them_is",
    ),
    "candidates that J asks for one code": (
        "session/test_limits.py::test_at_most_128_candidates_eight_at_a_time",
        "session/test_limits.py::test_those_that_several_finders_name_come_first",
    ),
    "unconfirmed entries": ("vault/test_pairing.py::test_records_are_bounded",),
}


def test_every_limit_is_reached() -> None:
    """No row without a test, no test that is not there."""
    text = (TESTS.parent / "docs" / "protocol.md").read_text()
    table = text.partition("\n## Limits\n")[2].partition("\n## ")[0]
    rows = [row for row in re.findall(r"^\| ([^|]+?) \| ", table, re.MULTILINE) if row != "what"]
    assert set(rows) == set(REACHED)
    for tests in REACHED.values():
        for test in tests:
            file, _, name = test.partition("::")
            assert re.search(rf"^(async )?def {name}\(", (TESTS / file).read_text(), re.MULTILINE), test
