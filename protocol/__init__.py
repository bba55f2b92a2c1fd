"""The pairing protocol's pure core (docs/protocol.md): code, key schedule, proofs, identities.

Owns every computation that two devices have to agree on. Never does I/O, reads a clock, draws randomness or
decides when something happens: all of that comes from the caller. In reading order:

    errors            what can be wrong with what a peer sends
    words             the list of words, and how typed words are read
    code              twelve words or a QR text, and the keys that are derived from them
    keys              every label, hash, derivation and cipher of the protocol
    peer_ids          the bytes that name a transport key, and their text
    identity          what a device states about itself, and the signature that binds it to a peer
    attempt           exchanges 1 and 2: both sides prove the code and their identities
    pairing_secrets   exchange 3: the users' decisions, and what remains of an attempt
    pairing_clock     which of several pairings of the same two devices is in use
    warm_up           one attempt with constant inputs, for a process that is about to give up its files
"""
