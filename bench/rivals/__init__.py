"""The parts of bench/rivals.py: one file per table, and one `with_*` program per rival that sets up and works.

Each program is called as `setup DSN JOBS` (its schema, and that many queued jobs through its own bulk call) or as
`work DSN SETTINGS` (JSON), and tells what it does on its standard output, as told.py says.
"""
