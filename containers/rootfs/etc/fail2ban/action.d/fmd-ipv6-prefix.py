"""fail2ban action: one IPv6 client is one /64.

Whoever has an address has the other 2^64 of its /64, so failures are counted
by /64 and the ban list names it: `2001:db8:0:1::/64`. Without this an attacker
who changes his address at every guess is never counted twice.

It bans nothing itself. fail2ban (1.1.0) has no setting for it, so the jail's
failure manager is wrapped: the allow list has been asked by then, with the
client's own address.
"""

from fail2ban.server.action import ActionBase
from fail2ban.server.ipdns import IPAddr


class Action(ActionBase):
    """Counts one jail's failures by prefix, 1-128 bits; 128 is fail2ban's own way."""

    def __init__(self, jail, name, length="64"):
        super().__init__(jail, name)
        self._length = int(length)
        if not 1 <= self._length <= 128:
            raise ValueError(f"length={length}: give the prefix length of one client, 64")
        self._wrap(jail.filter.failManager, jail.actions)

    def clearAllParams(self):
        pass

    def reload(self, length="64"):
        self._length = int(length)

    def _client(self, address):
        """The prefix an IPv6 address belongs to; everything else as it is."""
        if not isinstance(address, IPAddr):
            address = IPAddr(address)
        if address.isIPv6 and address.plen > self._length:
            return IPAddr(address.ntoa.split("/")[0], self._length)
        return address

    def _wrap(self, failures, actions):
        add_failure = failures.addFailure

        def add_failure_of_client(ticket, *args, **kwargs):
            ticket.setID(self._client(ticket.getID()))
            return add_failure(ticket, *args, **kwargs)

        failures.addFailure = add_failure_of_client

        # `unbanip` and `banip` take any address of the /64 as well.
        remove, add = actions.removeBannedIP, actions.addBannedIP

        def remove_client(ip=None, *args, **kwargs):
            return remove(self._named(ip), *args, **kwargs)

        def add_client(ip, *args, **kwargs):
            return add(self._named(ip), *args, **kwargs)

        actions.removeBannedIP, actions.addBannedIP = remove_client, add_client

    def _named(self, ip):
        """What an operator typed, as the ban list names it."""
        if ip is None:
            return None
        if isinstance(ip, (list, tuple, set)):
            return [self._named(one) for one in ip]
        client = self._client(ip)
        # Names and wider networks stay text: fail2ban looks them up itself.
        return str(client) if client.isValid else ip
