"""The configuration of a node, and where its files stand.

settings  NodeConfig, its sources (flags, variables, a file) and their precedence
values    readers of single values: text, numbers, multiaddrs, host:port
paths     the data directory, the runtime directory, and the nodes that run there
"""
