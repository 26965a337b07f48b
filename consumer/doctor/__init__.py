"""What could fail silently, looked at: settings, connections, schema, rights, Realtime, storage, health, engines.

A check is a function that takes the `Subject` and yields findings; a file is a group of checks; `examine` runs them,
each within a time limit.
"""
