from eventlet.event import Event as Event
from eventlet.greenpool import GreenPool as GreenPool
from eventlet.greenthread import sleep as sleep
from eventlet.greenthread import spawn as spawn
from eventlet.greenthread import spawn_n as spawn_n
from eventlet.patcher import monkey_patch as monkey_patch
from eventlet.timeout import Timeout as Timeout
