from typing import Final

class Connection:
    Close: Final[tuple[int, int]]

class Channel:
    Close: Final[tuple[int, int]]

class Basic:
    Cancel: Final[tuple[int, int]]
    Deliver: Final[tuple[int, int]]
    Publish: Final[tuple[int, int]]
    Return: Final[tuple[int, int]]
    Ack: Final[tuple[int, int]]
    Nack: Final[tuple[int, int]]

class Queue:
    Declare: Final[tuple[int, int]]
