"""fail2ban action: react at once, and keep time by a clock that never jumps.

It bans nothing itself; it changes how the fail2ban process it is loaded into
waits. Stock is one setting away: `fmd_reaction = stock` in jail.d/*.local.

Waits. fail2ban (1.0.2 to 1.1.1) polls: its journal reader every 2 s unless the
journal wakes it, and journald holds such notices back for 250 ms; its actions
at growing gaps of 0.2, 0.4, 0.6 s. There is no setting for either. Here the
reader looks every 0.1 s and the actions are woken by the failure itself.

Clock. fail2ban dates failures and bans by the wall clock: set back an hour
(a machine without a clock of its own, before NTP), bans last an hour longer
and new ones are checked for expiry an hour late; set forward, all are freed.
Here it counts from its start by the kernel's steady clock. Its database outlives
the process: there, bans are kept by the wall clock, and moved when that is set.
"""

import copy
import sqlite3
import sys
import threading
import time
import types

from fail2ban.helpers import getLogger
from fail2ban.server.action import ActionBase
from fail2ban.server.database import Fail2BanDb, commitandrollback
from fail2ban.server.jail import Jail
from fail2ban.server.mytime import MyTime
from fail2ban.server.utils import Utils
from fail2ban.version import version

_log = getLogger("fail2ban.fmd-reaction")

# Versions whose insides were read and tested; any other is left alone.
KNOWN = ("1.0.2", "1.1.0", "1.1.1")
JOURNAL_POLL_SECONDS = 0.1
# How often a waiting thread looks anyway, for conditions that wake nobody.
LOOK_SECONDS = 0.5
# What the wall clock is moved by at least when it is set rather than trimmed.
JUMP_SECONDS = 1.0

# fail2ban runs this file anew for every jail: what the process has one of is
# kept outside of it.
_process = sys.modules.setdefault("fmd_reaction", types.ModuleType("fmd_reaction"))
_failure_found = _process.__dict__.setdefault("failure_found", threading.Condition())
_started = _process.__dict__.setdefault(
    "started", time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
)


class Action(ActionBase):
    """`mode` is "fast" or "stock"; fast falls back to stock on a version not known."""

    def __init__(self, jail, name, mode="fast"):
        super().__init__(jail, name)
        self._logSys = getLogger(f"fail2ban.{name}")
        if mode not in ("fast", "stock"):
            raise ValueError(f"mode={mode!r}: give fast or stock")
        if mode == "stock":
            return
        if version not in KNOWN:
            self._logSys.warning(
                "[%s] fail2ban %s is not one of %s: its own waits stay, bans take up to 1.2 s",
                jail.name, version, ", ".join(KNOWN),
            )
            return
        _install()
        if jail.database is not None:
            _wall_clock.keep(jail.database)
        # Set when the jail was made, before any action could change it.
        jail.filter.sleeptime = JOURNAL_POLL_SECONDS
        _keep_journal_time(jail.filter)

    def clearAllParams(self):
        pass

    def reload(self, **_options):
        """Taken up at the next start: running waits are not changed."""


def _install():
    """Once for the process, whatever the number of jails."""
    if Utils.wait_for.__module__ == __name__:
        return
    Utils.DEFAULT_SLEEP_INTERVAL = JOURNAL_POLL_SECONDS
    Utils.wait_for = staticmethod(_wait_for)
    put = Jail.putFailTicket

    def put_and_wake(jail, ticket):
        put(jail, ticket)
        with _failure_found:
            _failure_found.notify_all()

    Jail.putFailTicket = put_and_wake
    MyTime.time = staticmethod(_steady_time)
    _keep_database_time()


def _wait_for(cond, timeout, interval=None):
    """As Utils.wait_for: the last value of `cond`, or a false one after
    `timeout` seconds, or when `timeout`, if it is callable, says so."""
    if callable(timeout):
        over = timeout
    else:
        end = time.monotonic() + timeout
        over = lambda: time.monotonic() >= end
    while True:
        _wall_clock.follow()
        # Held from the look to the wait, so that no wake-up falls in between;
        # a condition that sleeps itself, as the journal reader's, holds nothing.
        if interval:
            met = cond()
            if met or over():
                return met
            time.sleep(interval)
            continue
        with _failure_found:
            met = cond()
            if met or over():
                return met
            pause = LOOK_SECONDS if callable(timeout) else min(LOOK_SECONDS, end - time.monotonic())
            _failure_found.wait(max(pause, 0.001))


def _boot_seconds():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _steady_time():
    """Seconds since the epoch as the wall clock had it at the start."""
    return _boot_seconds() + _started if MyTime.myTime is None else MyTime.myTime


def _jumped():
    """Seconds that the wall clock has been set forward since the start."""
    return time.time() - _steady_time()


class _WallClock:
    """The database's times: by how much they are ahead of the process's own."""

    def __init__(self):
        self.ahead = 0.0
        self._databases = set()
        self._lock = threading.Lock()

    def keep(self, database):
        self._databases.add(database)

    def follow(self):
        """Moves the bans in the database when the wall clock has been set."""
        if abs(_jumped() - self.ahead) < JUMP_SECONDS:
            return
        with self._lock:
            jump = round(_jumped() - self.ahead)
            self.ahead += jump
            for database in self._databases if jump else ():
                try:
                    _move_bans(database, jump)
                except sqlite3.Error as error:  # a full disk, say: only the next start suffers
                    _log.error("bans in the database keep the old time: %s", error)


_wall_clock = _process.__dict__.setdefault("wall_clock", _WallClock())


@commitandrollback
def _move_bans(_database, cursor, seconds):
    for table in ("bans", "bips"):
        cursor.execute(f"UPDATE {table} SET timeofban = timeofban + ?", (seconds,))


def _keep_database_time():
    add_ban, current_bans = Fail2BanDb.addBan, Fail2BanDb.getCurrentBans
    get_ban, update_journal = Fail2BanDb.getBan, Fail2BanDb.updateJournal

    def add_by_wall_clock(database, jail, ticket):
        kept = copy.copy(ticket)
        kept.setTime(ticket.getTime() + _wall_clock.ahead)
        return add_ban(database, jail, kept)

    def bans_by_steady_clock(database, *args, **options):
        if options.get("fromtime") is None:
            options["fromtime"] = _steady_time()
        options["fromtime"] += _wall_clock.ahead
        found = current_bans(database, *args, **options)
        for ticket in found if isinstance(found, list) else [found] if found else []:
            ticket.setTime(ticket.getTime() - _wall_clock.ahead)
        return found

    # Earlier bans of a client, compared with the failure at hand.
    def earlier_by_steady_clock(database, *args, **options):
        return [
            (count, moment - _wall_clock.ahead, seconds)
            for count, moment, seconds in get_ban(database, *args, **options)
        ]

    # The journal's own time, by which it is searched.
    def position_by_wall_clock(database, jail, name, moment, iso):
        return update_journal(database, jail, name, moment + _jumped(), iso)

    Fail2BanDb.addBan = add_by_wall_clock
    Fail2BanDb.getCurrentBans = bans_by_steady_clock
    Fail2BanDb.getBan = earlier_by_steady_clock
    Fail2BanDb.updateJournal = position_by_wall_clock


def _keep_journal_time(journal_filter):
    """Journal entries are dated by the wall clock: move them by what it jumped.

    As FilterSystemd.getJrnEntTime, whose mktime() of a zoned date is a seventh
    of all time spent on a line (py-spy, 10,000 lines).
    """
    if not hasattr(journal_filter, "getJrnEntTime"):
        return

    def steady_entry_time(entry):
        date = entry.get("_SOURCE_REALTIME_TIMESTAMP") or entry.get("__REALTIME_TIMESTAMP")
        return date.isoformat(), date.timestamp() + _steady_time() - time.time()

    journal_filter.getJrnEntTime = steady_entry_time
