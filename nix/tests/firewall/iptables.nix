{ networking.nftables.enable = false; }
