# Where nginx serves a virtual host, as nixpkgs' module works it out from `listen`,
# `defaultListen` and the ways to have TLS. Plain builtins: the checks evaluate
# this file without nixpkgs.
{ nginx, hostName }:
let
  host = nginx.virtualHosts.${hostName};

  onlySSL = host.onlySSL or false || host.enableSSL or false;
  hasSSL = onlySSL || host.addSSL or false || host.forceSSL or false;

  given = nginx.defaultListen or [ ];
  lines = if given == [ ] then [ { } ] else given;

  # The lines with TLS or without; one that says neither stands for both.
  listenWith =
    ssl: port:
    map (line: line // { port = if line.port or null == null then port else line.port; }) (
      builtins.filter (line: line.ssl or null != !ssl) lines
    );

  listen =
    if host.listen != [ ] then
      host.listen
    else
      (if onlySSL then [ ] else listenWith false nginx.defaultHTTPListenPort)
      ++ (if hasSSL then listenWith true nginx.defaultSSLListenPort else [ ]);

  addPort =
    ports: line:
    # A unix socket has no port.
    if line.port == null || builtins.elem line.port ports then ports else ports ++ [ line.port ];
in
{
  ports = builtins.foldl' addPort [ ] listen;
  takesProxyProtocol = builtins.any (line: line.proxyProtocol or false) listen;
}
