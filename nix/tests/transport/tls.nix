{ testCertificate, ... }:
{
  # Not secret, but the module refuses a key that would be in the store.
  environment.etc."fmd-test/privkey.pem".source = "${testCertificate}/privkey.pem";

  services.fmd-stack = {
    tls = "files";
    certificate = "${testCertificate}/fullchain.pem";
    certificateKey = "/etc/fmd-test/privkey.pem";
  };
}
