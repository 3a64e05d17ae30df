from kombu.connection import Connection as Connection
