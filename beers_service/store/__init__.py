"""The store: the event log, the beers folded from it, and the answers to requests.

In SQL (`event_log`, `reader`, on SQLite or PostgreSQL) and in plain Python (`memory`), with one behaviour: the
contract tests run over all of them.
"""
