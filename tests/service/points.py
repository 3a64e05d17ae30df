"""The points at which the service crashes. Apart from `crashing`, which makes the process green that imports it."""

BEFORE_COMMIT = "before commit"
AFTER_COMMIT = "after commit, before the reply"
MID_WINDOW = "mid-window of the relay"
AFTER_CONFIRM = "after confirm, before cursor"
