# Runs as root of a sandbox whose `/` is Debian with the testbed's files laid
# over it, fmd-stack/ and fmd-server standing in /root.
# Arguments: the folder for disk.img, initrd and vmlinux; the how-to's commands.
out=$1
cd /root
# No systemd runs here: systemctl enables units, and says of the rest that it is
# left to the first boot.
export SYSTEMD_OFFLINE=1
# As somebody's copy may be who lets nobody see what he makes.
umask 077
chmod -R go= fmd-stack
sh -eu -c "$2"
umask 022
rm -rf fmd-stack fmd-server
for folder in / /etc /usr /usr/lib /etc/systemd/system /etc/nginx /etc/fail2ban; do
    mode=$(stat -c %a "$folder")
    [ "$mode" = 755 ] || { echo "the how-to has left $folder with mode $mode" >&2; exit 1; }
done

systemctl --quiet enable systemd-networkd ssh fmd-testbed-agent
# Nothing of the stack, and half of the time to boot under emulation.
for unit in \
    apt-daily-upgrade.timer apt-daily.timer dev-hugepages.mount dev-mqueue.mount \
    dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    getty.target kmod-static-nodes.service ldconfig.service \
    modprobe@.service sshd-keygen.service sys-fs-fuse-connections.mount \
    sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
    systemd-ask-password-console.path systemd-ask-password-wall.path \
    systemd-binfmt.service systemd-hwdb-update.service \
    systemd-journal-catalog-update.service systemd-logind.service \
    systemd-machine-id-commit.service systemd-modules-load.service \
    systemd-network-generator.service systemd-networkd-persistent-storage.service \
    systemd-networkd-wait-online.service systemd-pstore.service \
    systemd-random-seed.service systemd-remount-fs.service \
    systemd-tpm2-setup-early.service systemd-tpm2-setup.service \
    systemd-udev-load-credentials.service systemd-update-done.service \
    systemd-update-utmp.service systemd-user-sessions.service; do
    ln -sf /dev/null "/etc/systemd/system/$unit"
done
mkdir -p /etc/systemd/system-generators
for generator in /usr/lib/systemd/system-generators/*; do
    ln -sf /dev/null "/etc/systemd/system-generators/${generator##*/}"
done
: >/etc/fstab

work=$(mktemp -d)
cp /usr/bin/busybox "$work"
install -m 755 /usr/lib/fmd-testbed/initrd "$work/init"
xz -dc /usr/lib/modules/*/kernel/drivers/block/virtio_blk.ko.xz >"$work/virtio_blk.ko"
(cd "$work" && find . | cpio --quiet --create --format=newc) >"$out/initrd"
zstd -dq --rm "$out/vmlinux.zst"

# `/` alone, without what is mounted on it.
mkdir -p /mnt/root
mount --bind / /mnt/root
truncate -s 2G "$out/disk.img"
# No journal: no machine made from this disk ever boots it after a power cut.
/usr/sbin/mkfs.ext4 -q -F -d /mnt/root -O ^has_journal -E root_owner=0:0 "$out/disk.img"
umount /mnt/root
chmod 644 "$out"/*
