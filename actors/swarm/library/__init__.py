"""All that corrects, bounds or leaves out parts of libp2p 0.8.1 (docs/decisions/0004)."""
