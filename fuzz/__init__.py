"""`make fuzz`: the whole product under everything that should never be sent to it.

requests    what is sent to the bridge: a pure function of chance
calling     sends it, and sees how each call ends
http2       what is sent to the port by who does not speak gRPC
messages    what is sent to the broker: to the service's queue, as an answer, as an event
judging     what an answer must not be
ground      the product under it: its processes, their memory, its log and its store
run         all of them at the same time, with somebody who calls properly beside them
report      for people and programs
"""
