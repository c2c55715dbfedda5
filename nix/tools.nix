# Programs that the suite and its developers call.
{ pkgs }:
{
  # The namespaces testbed: a Debian root filesystem, and ids to map into it.
  # newuidmap is not here: it has to be setuid and so is the machine's own.
  namespaces = with pkgs; [
    debian-archive-keyring
    iproute2
    mmdebstrap
    nftables
    util-linux
  ];

  development = with pkgs; [
    cargo
    clippy
    deadnix
    e2fsprogs
    fail2ban
    nginx
    nixfmt
    openssh
    qemu_kvm
    rustc
    rustfmt
    sqlite
    statix
  ];
}
