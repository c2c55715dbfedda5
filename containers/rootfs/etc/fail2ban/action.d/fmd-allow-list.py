"""fail2ban action: addresses never banned, from a file read while running.

One address or network a line, `#` starts a comment. A change takes effect
within a second, without a restart, and frees whoever is banned and now listed.
It adds to the jail's own `ignoreip` and bans nothing itself.

An IPv6 address stands for its /64, as it does in bans: a list entry inside a
/64 that somebody else got banned would otherwise not help its owner.
"""

import ipaddress
import os
import threading

from fail2ban.helpers import getLogger
from fail2ban.server.action import ActionBase
from fail2ban.server.ipdns import IPAddr

LOOK_SECONDS = 1
PREFIX = 64


class Action(ActionBase):
    """Keeps one jail's ignore list in step with `file`; a missing file is an empty list."""

    def __init__(self, jail, name, file="/etc/fmd-stack/allow-list"):
        super().__init__(jail, name)
        self._logSys = getLogger(f"fail2ban.{name}")
        self._file = file
        # What this action has added, and not what stood in `ignoreip` already.
        self._added = set()
        self._seen = None
        self._ended = threading.Event()
        self._watcher = None
        self._lock = threading.Lock()
        self._look()

    def clearAllParams(self):
        pass

    def reload(self, file="/etc/fmd-stack/allow-list"):
        with self._lock:
            self._file = file
            # fail2ban has emptied the ignore list, ours included.
            self._added = set()
            self._seen = None
        self._look()

    def start(self):
        self._watcher = threading.Thread(
            target=self._watch, name=f"allow list {self._jail.name}", daemon=True
        )
        self._watcher.start()

    def stop(self):
        self._ended.set()
        if self._watcher is not None:
            self._watcher.join()

    def _watch(self):
        while not self._ended.wait(LOOK_SECONDS):
            try:
                self._look()
            except Exception as error:  # a bad list must not end the watching
                self._logSys.error("[%s] allow list: %s", self._jail.name, error)

    def _look(self):
        with self._lock:
            state = self._state()
            if state == self._seen:
                return
            self._apply(self._read())
            self._seen = state

    def _state(self):
        try:
            found = os.stat(self._file)
        except OSError as error:
            return f"not there: {error.errno}"
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _read(self):
        try:
            with open(self._file, encoding="utf-8", errors="replace") as lines:
                texts = [line.split("#", 1)[0].strip() for line in lines]
        except FileNotFoundError:
            return set()
        except OSError as error:  # a folder, say: the jail must start all the same
            self._logSys.error("[%s] the allow list can't be read, nobody is on it: %s", self._jail.name, error)
            return set()
        networks = set()
        for number, text in enumerate(texts, start=1):
            if not text:
                continue
            try:
                networks.add(self._network(text))
            except ValueError as error:
                self._logSys.error(
                    "[%s] %s:%d: %s; give one address or network a line, the others hold",
                    self._jail.name, self._file, number, error,
                )
        return networks

    @staticmethod
    def _network(text):
        network = ipaddress.ip_network(text, strict=False)
        if network.version == 6 and network.prefixlen > PREFIX:
            network = network.supernet(new_prefix=PREFIX)
        if network.prefixlen == 0:
            raise ValueError(f"{text} would allow everybody")
        return network

    def _apply(self, networks):
        jail = self._jail
        ignored = {str(entry) for entry in jail.filter.getIgnoreIP()}
        for network in networks:
            if _text(network) not in ignored:
                jail.filter.addIgnoreIP(_text(network))
                self._added.add(network)
        for network in self._added - networks:
            # Somebody may have taken it out by fail2ban-client.
            if _text(network) in ignored:
                jail.filter.delIgnoreIP(IPAddr(_text(network)))
        self._added &= networks
        self._logSys.info("[%s] allow list: %d entries", jail.name, len(networks))
        for client in jail.actions.getBanList():
            if any(IPAddr(str(client)).isInNet(IPAddr(_text(n))) for n in networks):
                jail.actions.removeBannedIP(str(client), ifexists=True)


def _text(network):
    """As fail2ban writes it: a single IPv4 address without /32."""
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return str(network)
