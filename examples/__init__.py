"""Examples that run: beers to import, and a service that follows the catalogue."""
