{ services.fmd-stack.tls = "off"; }
