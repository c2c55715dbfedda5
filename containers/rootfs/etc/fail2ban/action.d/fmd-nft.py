"""fail2ban action: bans as elements of nft sets, written in batches.

fail2ban's own nftables action starts one `nft` per ban, about 170 bans a
second. This one queues bans and hands everything that is waiting to a single
`nft -f -`, so a ban list of 10,000 addresses is restored in a few calls.

Each jail owns one table, `inet f2b-<jail>`, with one set per address family
and never a rule per address. IPv6 bans cover the /64: the rule masks the
source before it looks the address up, so no interval set is needed and a
neighbouring /64 can't be meant.

fail2ban tells an action of a ban once. While anybody is banned this one looks
every `look` seconds whether its table still stands, and writes it anew when a
`flush ruleset` has taken it or nft failed before, at the start of the jail too.

A fail2ban that was killed leaves its table behind, and the next one needs a
while to read the bans from its database: for `look` seconds, whoever stands in
the table stays.

Use it in a jail, all parameters optional:

    action = fmd-nft.py[port="80,443", protocol="tcp,udp", hook="input", look="30"]
"""

import ipaddress
import queue
import re
import subprocess
import threading
import time

from fail2ban.helpers import getLogger
from fail2ban.server.action import ActionBase

# The length of one batch: nft reads 4,000 elements in about 10 ms, and a lone
# ban must not wait behind a longer one.
BATCH = 4000
NFT_TIMEOUT_SECONDS = 60
PREFIX = 64
# As `nft list table` prints the sets.
_SET = re.compile(r"set (banned[46]) \{[^{}]*elements = \{([^}]*)\}")


class Action(ActionBase):
    """One jail's bans in one nft table.

    Raises ValueError for a parameter nft would not take, which keeps the jail
    from starting unprotected.
    """

    def __init__(self, jail, name, **options):
        super().__init__(jail, name)
        self._logSys = getLogger(f"fail2ban.{name}")
        self._table = "inet f2b-" + re.sub(r"[^A-Za-z0-9_-]", "-", jail.name)
        # Clients banned, by set and element: several bans may share one /64.
        self._banned = _nobody()
        # Elements of a fail2ban that was killed, and when to forget them.
        self._left = _nobody()
        self._forget_at = 0.0
        self._lock = threading.Lock()
        self._queue = queue.Queue()
        self._writer = None
        # Whether the table holds all that it should, as far as nft has said.
        self._in_force = False
        self._configure(**options)

    def _configure(
        self, port="80,443", protocol="tcp,udp", hook="input", nft="nft", look="30"
    ):
        if not re.fullmatch(r"\d+([-:]\d+)?(,\d+([-:]\d+)?)*", port):
            raise ValueError(f"port={port!r}: give numbers, as in 80,443 or 8000-8010")
        if not re.fullmatch(r"(tcp|udp)(,(tcp|udp))?", protocol):
            raise ValueError(f"protocol={protocol!r}: give tcp, udp or tcp,udp")
        if not re.fullmatch(r"(input|forward)(,(input|forward))?", hook):
            raise ValueError(f"hook={hook!r}: give input, forward or input,forward")
        self._port = port.replace(":", "-")
        self._protocol = protocol
        self._hooks = hook.split(",")
        self._nft = nft
        self._look_seconds = float(look)

    # fail2ban replaces an action without reload() by a new one and then
    # removes that one as obsolete (Actions.reload, 1.1.0).
    def clearAllParams(self):
        pass

    def reload(self, **options):
        self._configure(**options)
        with self._lock:
            self._write_table()

    def start(self):
        with self._lock:
            self._left = self._found()
            self._forget_at = time.monotonic() + self._look_seconds
            # fail2ban would go on and name bans to an action that never wrote one.
            try:
                self._write_table()
            except RuntimeError as error:
                self._complain(error)
        self._writer = threading.Thread(
            target=self._write_batches, name=f"nft {self._jail.name}", daemon=True
        )
        self._writer.start()

    def stop(self):
        if self._writer is not None:
            self._queue.put(None)
            self._writer.join()
            self._writer = None
        with self._lock:
            self._banned, self._left = _nobody(), _nobody()
            # `add` first: deleting a table that is not there is an error.
            self._run(f"add table {self._table}\ndelete table {self._table}\n")

    def ban(self, aInfo):
        self._queue.put(("add", *self._element(aInfo["fid"])))

    def unban(self, aInfo):
        self._queue.put(("delete", *self._element(aInfo["fid"])))

    def flush(self):
        """Empties the sets; fail2ban then asks for no single unban."""
        self._queue.put(("flush", None, None, None))
        return True

    @staticmethod
    def _element(client):
        """The client as (set, element, client): an IPv4 address, or the
        first address of the /64.

        Raises ValueError for a network wider than what one element covers.
        """
        network = ipaddress.ip_network(str(client), strict=False)
        if network.version == 4 and network.prefixlen == 32:
            return "banned4", str(network.network_address), str(client)
        if network.version == 6 and network.prefixlen >= PREFIX:
            covering = network.supernet(new_prefix=PREFIX)
            return "banned6", str(covering.network_address), str(client)
        raise ValueError(
            f"{client} can't be banned: fmd-nft bans IPv4 addresses and IPv6 /{PREFIX}s"
        )

    def _write_batches(self):
        ended = False
        while not ended:
            orders = self._next_orders()
            ended = None in orders
            try:
                with self._lock:
                    if orders:
                        self._write([order for order in orders if order is not None])
                    else:
                        self._look()
                    self._forget_left()
            except Exception as error:  # the writer must outlive a failed batch
                self._in_force = False
                self._complain(error)

    def _complain(self, error):
        self._logSys.error(
            "[%s] bans are not in force, next try in %g s: %s",
            self._jail.name, self._look_seconds, error,
        )

    def _next_orders(self):
        """What is waiting, up to a batch; nothing when it is time to look."""
        orders = []
        try:
            orders.append(self._queue.get(timeout=self._look_seconds))
            while len(orders) < BATCH:
                orders.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        return orders

    def _found(self):
        """The elements of the table as it stands; none if there is none."""
        found = _nobody()
        try:
            table = self._run(f"list table {self._table}\n")
        except RuntimeError:
            return found
        for name, elements in _SET.findall(table):
            found[name] = {one: set() for one in re.findall(r"[0-9a-f:.]+", elements)}
        return found

    def _forget_left(self):
        """Lifts what nobody has banned anew: its time was over meanwhile."""
        if any(self._left.values()) and time.monotonic() >= self._forget_at:
            self._left = _nobody()
            self._write_table()

    def _look(self):
        """Writes the table anew if it failed before, or bans should be in it and are not."""
        if self._in_force and (not any(self._banned.values()) or self._stands()):
            return
        self._logSys.warning(
            "[%s] table %s is not in force; restoring it", self._jail.name, self._table
        )
        self._write_table()

    def _stands(self):
        try:
            self._run(f"list chain {self._table} refuse\n")
        except RuntimeError:
            return False
        return True

    def _write(self, orders):
        changes = {}
        for verb, name, element, client in orders:
            if verb == "flush":
                self._banned, self._left = _nobody(), _nobody()
                changes = {"flush": True}
                continue
            self._left[name].pop(element, None)
            clients = self._banned[name].setdefault(element, set())
            if verb == "add":
                clients.add(client)
            else:
                clients.discard(client)
            changes[name, element] = bool(clients)
            if not clients:
                del self._banned[name][element]
        if "flush" in changes or not self._in_force:
            self._write_table()
            return
        # add before delete: deleting what is not there fails a whole batch.
        touched = self._elements(changes)
        gone = self._elements(k for k, banned in changes.items() if not banned)
        script = self._order("add", touched) + self._order("delete", gone)
        try:
            self._run(script)
        except RuntimeError as error:
            # Somebody flushed the ruleset, say: make the table anew, with
            # every ban in it.
            self._logSys.warning(
                "[%s] %s; restoring table %s", self._jail.name, error, self._table
            )
            self._write_table()

    @staticmethod
    def _elements(keys):
        found = {"banned4": [], "banned6": []}
        for name, element in keys:
            found[name].append(element)
        return found

    def _order(self, verb, elements):
        return "".join(
            f"{verb} element {self._table} {name} {{ {', '.join(found)} }}\n"
            for name, found in elements.items()
            if found
        )

    def _write_table(self):
        self._in_force = False
        self._run(self._table_script())
        self._in_force = True

    def _table_script(self):
        """The whole table in one transaction: there is no moment without it."""
        here = f"meta l4proto {{ {self._protocol} }} th dport {{ {self._port} }}"
        back = f"meta l4proto {{ {self._protocol} }} th sport {{ {self._port} }}"
        chains = {}
        for hook in self._hooks:
            chains.setdefault(hook, []).append(("saddr", f"{here} goto refuse"))
            # An answer under way when the ban comes must not arrive either.
            way_out = "output" if hook == "input" else hook
            chains.setdefault(way_out, []).append(("daddr", f"{back} goto withhold"))
        hooks = "".join(
            f"""
    chain {hook} {{
        type filter hook {hook} priority -1; policy accept;
"""
            + "".join(
                f"        ip {end} @banned4 {then}\n"
                f"        ip6 {end} & {_mask()} @banned6 {then}\n"
                for end, then in rules
            )
            + "    }"
            for hook, rules in chains.items()
        )
        return f"""add table {self._table}
delete table {self._table}
table {self._table} {{
    set banned4 {{ type ipv4_addr; }}
    set banned6 {{ type ipv6_addr; comment "first address of each /{PREFIX}"; }}
    chain refuse {{
        meta l4proto tcp reject with tcp reset
        reject
    }}
    chain withhold {{
        # The resets of the chain above pass.
        tcp flags & rst == 0x0 drop
        meta l4proto udp drop
    }}{hooks}
}}
{self._order("add", self._banned)}{self._order("add", self._left)}"""

    def _run(self, script):
        """Runs one nft transaction and returns what it prints; raises
        RuntimeError with nft's words."""
        if not script:
            return ""
        try:
            done = subprocess.run(
                [self._nft, "-f", "-"],
                input=script,
                capture_output=True,
                text=True,
                timeout=NFT_TIMEOUT_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RuntimeError(f"{self._nft} did not run: {error}") from error
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise RuntimeError(f"nft: {said[0] if said else done.returncode}")
        return done.stdout


def _nobody():
    return {"banned4": {}, "banned6": {}}


def _mask():
    return ipaddress.ip_network(f"::/{PREFIX}").netmask
