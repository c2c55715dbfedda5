# OCI images of the bundle. What is copied, the entry point and the stop signal
# are read from each image's Containerfile; the packages come from nixpkgs
# instead of Debian.
{
  lib,
  dockerTools,
  runCommand,
  writeShellScriptBin,
  bash,
  buildEnv,
  coreutils,
  fail2ban,
  fmd-server,
  gnugrep,
  gnused,
  iproute2,
  nftables,
  nginx,
  systemd,
}:
let
  containers = ../containers;
  version = (lib.importTOML ../Cargo.toml).workspace.package.version;

  # Debian's nginx reads /etc/nginx/nginx.conf by itself, nixpkgs' its own.
  nginxInEtc = writeShellScriptBin "nginx" ''
    exec ${nginx}/bin/nginx -c /etc/nginx/nginx.conf "$@"
  '';

  # What Debian's packages put where the shared tree expects it.
  packagesOf = {
    nginx = {
      programs = [ nginxInEtc ];
      files = {
        "etc/nginx/mime.types" = "${nginx}/conf/mime.types";
      };
    };
    fail2ban = {
      programs = [
        fail2ban
        iproute2
        nftables
      ];
      files = {
        "etc/fail2ban" = "${fail2ban}/etc/fail2ban";
      };
    };
    journal = {
      programs = [ systemd ];
      files = {
        "usr/lib/systemd/systemd-journald" = "${systemd}/lib/systemd/systemd-journald";
      };
    };
  };

  linesOf =
    role: lib.splitString "\n" (builtins.readFile (containers + "/${role}/Containerfile"));

  instructions =
    role: keyword:
    lib.concatMap (
      line:
      let
        found = builtins.match "${keyword} +(.*)" line;
      in
      if found == null then [ ] else found
    ) (linesOf role);

  # `COPY source... target`, as an engine with containers/ as its context does it.
  copy =
    words:
    let
      target = lib.last words;
    in
    lib.concatMapStrings (source: ''
      copy ${containers + "/${source}"} ${baseNameOf source} ${target}
    '') (lib.init words);

  # The machine's id, which a Containerfile writes with its RUN.
  machineId = lib.concatMapStrings (
    line:
    let
      found = builtins.match ".*echo ([0-9a-f]{32}) >/etc/machine-id.*" line;
    in
    lib.optionalString (found != null) "echo ${lib.head found} >$out/etc/machine-id\n"
  );

  tree =
    role:
    runCommand "fmd-stack-${role}-files" { } ''
      copy() {
        if [ -d "$1" ]; then
          mkdir -p "$out$3"
          cp -r "$1/." "$out$3"
        elif [ "''${3%/}" != "$3" ]; then
          install -D "$1" "$out$3$2"
        else
          install -D "$1" "$out$3"
        fi
        chmod -R u+w "$out"
      }

      mkdir -p $out/etc $out/run $out/tmp $out/var
      ${lib.concatStrings (
        lib.mapAttrsToList (target: source: ''
          mkdir -p $out/${dirOf target}
          cp -rL ${source} $out/${target}
          chmod -R u+w $out
        '') packagesOf.${role}.files
      )}
      ${lib.concatMapStrings (words: copy (lib.splitString " " words)) (instructions role "COPY")}
      ${machineId (linesOf role)}
    '';

  image =
    role:
    dockerTools.buildLayeredImage {
      name = "fmd-stack/${role}";
      tag = version;
      contents = [
        (buildEnv {
          name = "fmd-stack-${role}-programs";
          paths = [
            bash
            coreutils
            gnugrep
            gnused
          ]
          ++ packagesOf.${role}.programs;
          pathsToLink = [ "/bin" ];
        })
        dockerTools.binSh
        dockerTools.fakeNss
        (tree role)
      ];
      config = {
        Entrypoint = builtins.fromJSON (lib.head (instructions role "ENTRYPOINT"));
        Env = [ "PATH=/bin" ];
      }
      // lib.optionalAttrs (instructions role "STOPSIGNAL" != [ ]) {
        StopSignal = lib.head (instructions role "STOPSIGNAL");
      };
    };
in
lib.genAttrs (lib.attrNames packagesOf) image
// {
  # Upstream's image, from nixpkgs' build and with the shared settings.
  fmd-server = dockerTools.buildLayeredImage {
    name = "fmd-stack/fmd-server";
    tag = version;
    contents = [
      (runCommand "fmd-server-files" { } ''
        mkdir -p $out/tmp
        install -D -m 644 ${
          containers + "/rootfs/etc/fmd-server/config.yml"
        } $out/etc/fmd-server/config.yml
      '')
      dockerTools.caCertificates
      dockerTools.fakeNss
    ];
    config = {
      Entrypoint = [ (lib.getExe fmd-server) ];
      Cmd = [
        "serve"
        "--config"
        "/etc/fmd-server/config.yml"
      ];
      User = "65532:65532";
      WorkingDir = "/var/lib/fmd-server";
    };
  };
}
