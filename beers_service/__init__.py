"""The Nameko service ``beers``: commands in, an event log, events out.

How a command travels: `transport` takes it off the queue, `service` names the calls, `calls` runs them, `domain`
decides, `writer` commits many decisions at once to the `store`, and `relay` tells the bus what happened.
"""
