"""Alembic's entry point: runs the migrations in the transaction that `migrate` has begun."""

from alembic import context

from beers_service.store import schema

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema.metadata,
    transactional_ddl=True,
)
context.run_migrations()
