"""fail2ban action: bans in nginx, for a server behind an edge.

Behind Cloudflare or another proxy the firewall sees the edge alone, so a ban
there would cut everybody off. This action writes the banned clients to a file
that nginx/fmd-stack/denied.conf reads into a map, and has nginx reload it.

All jails share one file. It is replaced in one step, tested with `nginx -t`
and put back if nginx does not take it. Reloads come at most once in
PAUSE_SECONDS; the first of a burst is not delayed.

A fail2ban that was killed leaves its file behind, and the next one needs a
while to read the bans from its database: for LEFT_SECONDS, whoever stands in
the file stays.
"""

import ipaddress
import os
import re
import shlex
import subprocess
import sys
import tempfile
import threading
import time
import types

from fail2ban.helpers import getLogger
from fail2ban.server.action import ActionBase

PAUSE_SECONDS = 1.0
# After a failure.
RETRY_SECONDS = 10
COMMAND_TIMEOUT_SECONDS = 30
LEFT_SECONDS = 30
PREFIX = 64

# fail2ban runs this file anew for every jail. Kept outside of it, or each jail
# would write a file without the others' bans.
_process = sys.modules.setdefault("fmd_nginx_denied", types.ModuleType("fmd_nginx_denied"))
_files = _process.__dict__.setdefault("files", {})
_files_lock = _process.__dict__.setdefault("files_lock", threading.Lock())


class Action(ActionBase):
    """`test` and `reload` are commands without a shell; an empty one is not run,
    for an nginx that watches the file itself (containers/nginx/entrypoint)."""

    def __init__(self, jail, name, **options):
        super().__init__(jail, name)
        self._logSys = getLogger(f"fail2ban.{name}")
        self._configure(**options)

    def _configure(
        self,
        file="/var/lib/fmd-stack/denied/denied.conf",
        test="nginx -t -q",
        reload="nginx -s reload",
    ):
        self._denied = _Denied.of(file, self._logSys)
        self._denied.test = shlex.split(test)
        self._denied.reload = shlex.split(reload)

    def clearAllParams(self):
        pass

    def reload(self, **options):
        self._configure(**options)

    def start(self):
        self._denied.clear(self._jail.name)

    def stop(self):
        self._denied.forget()
        self._denied.clear(self._jail.name)
        self._denied.settle()

    def ban(self, aInfo):
        self._denied.add(self._jail.name, _key(aInfo["fid"]))

    def unban(self, aInfo):
        self._denied.remove(self._jail.name, _key(aInfo["fid"]))

    def flush(self):
        self._denied.forget()
        self._denied.clear(self._jail.name)
        return True


def _key(client):
    """The client as nginx/fmd-stack/http.conf writes $fmd_client: an IPv4
    address, or the four groups of a /64.

    Raises ValueError for a wider network.
    """
    network = ipaddress.ip_network(str(client), strict=False)
    if network.version == 4 and network.prefixlen == 32:
        return str(network.network_address)
    if network.version == 6 and network.prefixlen >= PREFIX:
        groups = network.network_address.exploded.split(":")[:4]
        return ":".join(f"{int(group, 16):x}" for group in groups)
    raise ValueError(
        f"{client} can't be banned: fmd-nginx bans IPv4 addresses and IPv6 /{PREFIX}s"
    )


class _Denied:
    """The file, and who stands in it because of which jails."""

    @classmethod
    def of(cls, path, log):
        with _files_lock:
            if path not in _files:
                _files[path] = cls(path, log)
            return _files[path]

    def __init__(self, path, log):
        self.test = self.reload = ()
        self._path = path
        self._log = log
        self._jails = {}
        self._changed = threading.Condition()
        self._version = 0
        self._written = -1
        # What nginx has; None after a failure. It reads the file at its start,
        # and takes no file for nobody.
        self._taken = self._contents() or _text(())
        self._left = set(re.findall(r'^"([0-9a-f:.]+)" 1;$', self._taken, re.MULTILINE))
        self._forget_at = time.monotonic() + LEFT_SECONDS
        threading.Thread(target=self._write_changes, name="nginx denied", daemon=True).start()

    def add(self, jail, key):
        self._change(lambda: self._jails.setdefault(jail, set()).add(key))

    def remove(self, jail, key):
        self._left.discard(key)
        self._change(lambda: self._jails.get(jail, set()).discard(key))

    def clear(self, jail):
        self._change(lambda: self._jails.pop(jail, None))

    def forget(self):
        """Nobody stays but for a ban of this fail2ban's own."""
        self._change(self._left.clear)

    def settle(self):
        """Returns when everything asked for so far has been written."""
        with self._changed:
            wanted = self._version
            self._changed.wait_for(lambda: self._written >= wanted, COMMAND_TIMEOUT_SECONDS)

    def _change(self, change):
        with self._changed:
            change()
            self._version += 1
            self._changed.notify_all()

    def _write_changes(self):
        pause = threading.Event()
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._written < self._version, self._wait_seconds()
                )
                if time.monotonic() >= self._forget_at:
                    self._left.clear()
                version = self._version
                keys = sorted(self._left.union(*self._jails.values()))
            try:
                self._write(keys)
            except Exception as error:  # the writer must outlive a failed reload
                self._log.error(
                    "bans are not in force in nginx, next try in %d s: %s", RETRY_SECONDS, error
                )
            with self._changed:
                self._written = version
                self._changed.notify_all()
            pause.wait(PAUSE_SECONDS)

    def _wait_seconds(self):
        """How long to wait for a change: for ever, unless the last one failed
        or somebody is left from before."""
        if self._taken is None:
            return RETRY_SECONDS
        return LEFT_SECONDS if self._left else None

    def _write(self, keys):
        """Replaces the file and has nginx read it; raises RuntimeError and
        leaves the old file in place when nginx does not accept the new one."""
        text = _text(keys)
        if text == self._taken:
            return
        self._taken = None
        before = self._contents()
        self._replace(text)
        try:
            self._command(self.test)
        except RuntimeError:
            self._replace(before or "")
            raise
        self._command(self.reload)
        self._taken = text

    def _contents(self):
        try:
            with open(self._path, encoding="ascii") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def _replace(self, text):
        folder = os.path.dirname(self._path)
        _make_folder(folder)
        # Not *.conf, or nginx could include a half-written one.
        handle, name = tempfile.mkstemp(dir=folder, suffix=".new")
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(text)
                os.fchmod(file.fileno(), 0o644)
            os.replace(name, self._path)
        except BaseException:
            os.unlink(name)
            raise

    def _command(self, words):
        if not words:
            return
        try:
            done = subprocess.run(
                words,
                capture_output=True,
                text=True,
                timeout=COMMAND_TIMEOUT_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RuntimeError(f"{' '.join(words)}: {error}") from error
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")


def _text(keys):
    return "# Written by fail2ban's action fmd-nginx: do not edit.\n" + "".join(
        f'"{key}" 1;\n' for key in keys
    )


def _make_folder(path):
    """With its parents, readable for nginx whatever fail2ban's umask."""
    if os.path.isdir(path):
        return
    _make_folder(os.path.dirname(path))
    os.mkdir(path)
    os.chmod(path, 0o755)
