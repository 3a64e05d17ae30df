"""The command line `beers`, a gRPC client, and `beers up`, which runs the whole product on one machine."""
