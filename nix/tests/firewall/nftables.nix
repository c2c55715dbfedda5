{ networking.nftables.enable = true; }
