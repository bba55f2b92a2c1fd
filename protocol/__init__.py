"""The pairing protocol's pure core: code, key schedule, proofs (docs/protocol.md)."""
