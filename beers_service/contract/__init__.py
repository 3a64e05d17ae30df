"""The contract of the events as data, generated from the code that publishes them: JSON Schemas and AsyncAPI.

    python -m beers_service.contract [--check] [DIRECTORY]

Nothing at run time needs it. It reads the types of events, what their docstrings say and the limits of their fields,
and fails where it cannot: a field without a rule and an event without an example are no contract.
"""
