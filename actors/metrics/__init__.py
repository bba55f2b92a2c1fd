"""The metrics actor: what the node measures about itself, for Prometheus, and whether it is alive and ready.

catalogue    every metric: type, labels, help, who may report it
totals       adds up the values of all senders, across their restarts and those of metrics itself (checkpoint)
machine      the stepping actor: totals and readiness
exposition   totals as Prometheus text and OpenMetrics
http_server  what /metrics, /livez and /readyz answer
actor        the entry point
"""

from .actor import main

__all__ = ["main"]
