"""fail2ban action: never bans a gateway, and tells the operator why nobody is banned.

A container engine's user-land proxy, where one is used, hides every client
behind the gateway of nginx's network. To ban that address would be to ban
everybody. Only for containers: a machine's own gateway may be an attacker.

It bans nothing itself. Neither `ignoreip` (which an operator may set to
something else) nor `ignorecommand` (a process for each failure) can do this.
"""

import ipaddress
import socket
import struct
import time

from fail2ban.helpers import getLogger
from fail2ban.server.action import ActionBase

TELL_EVERY_SECONDS = 300
MESSAGE = (
    "failed logins come from %s, the container engine's gateway: the engine hides its clients'"
    ' addresses, so nobody is banned. See docs/how-to/containers.md, "Clients behind the gateway".'
)


class Action(ActionBase):
    """Keeps the default gateways of this network namespace out of one jail's bans."""

    def __init__(self, jail, name):
        super().__init__(jail, name)
        self._logSys = getLogger(f"fail2ban.{name}")
        self._gateways = set(_gateways())
        self._told = {}
        self._watch(jail.filter)
        self._ignore()

    def clearAllParams(self):
        pass

    def reload(self):
        # fail2ban has emptied the ignore list.
        self._ignore()

    def _ignore(self):
        for gateway in self._gateways:
            self._jail.filter.addIgnoreIP(gateway)

    def _watch(self, failures):
        """fail2ban says of an ignored failure that it was, at a level nobody reads."""
        say = failures.logIgnoreIp

        def say_and_tell(ip, *args, **kwargs):
            say(ip, *args, **kwargs)
            if str(ip) in self._gateways:
                self._tell(str(ip))

        failures.logIgnoreIp = say_and_tell
        # Whoever takes a gateway out of the list, such as an allow list that had
        # named it too, takes out its own entry only.
        delete = failures.delIgnoreIP

        def delete_and_keep(ip=None):
            delete(ip)
            self._ignore()

        failures.delIgnoreIP = delete_and_keep

    def _tell(self, gateway):
        now = time.monotonic()
        if now - self._told.get(gateway, -TELL_EVERY_SECONDS) < TELL_EVERY_SECONDS:
            return
        self._told[gateway] = now
        self._logSys.warning("[%s] " + MESSAGE, self._jail.name, gateway)
        try:
            from systemd import journal

            journal.send(MESSAGE % gateway, SYSLOG_IDENTIFIER="fmd-stack", PRIORITY=4)
        except (ImportError, OSError) as error:
            self._logSys.warning("[%s] the journal was not told: %s", self._jail.name, error)


def _gateways():
    """Default gateways by both tables of the kernel (proc(5)), as text."""
    with open("/proc/net/route", encoding="ascii") as table:
        for line in list(table)[1:]:
            destination, gateway = line.split()[1:3]
            if destination == "00000000" and gateway != destination:
                yield socket.inet_ntoa(struct.pack("=L", int(gateway, 16)))
    try:
        with open("/proc/net/ipv6_route", encoding="ascii") as table:
            routes = [line.split() for line in table]
    except FileNotFoundError:  # a kernel without IPv6
        return
    for destination, length, _, _, gateway, *_ in routes:
        if int(destination, 16) == 0 and int(length, 16) == 0 and int(gateway, 16) != 0:
            yield str(ipaddress.IPv6Address(int(gateway, 16)))
