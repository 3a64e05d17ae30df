"""The gRPC edge of beers: an asyncio server in front of the Nameko service."""
