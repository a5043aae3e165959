#!/bin/sh
# Becomes PID 1 of a host. Runs in new mount, uts, ipc, net, pid and cgroup namespaces, made by `unshare`.
#   become_host.sh IMAGE DIRECTORY NAME ADDRESS/PREFIX
# Waits for one line on standard input: the other end of the host's network card is plugged in then.
set -eu
image=$1 directory=$2 name=$3 address=$4
read -r _

# An overlay without fsync, which asks for an empty work folder. What the host has written stays in `up`.
rm -rf "$directory/work"
mkdir -p "$directory/work" "$directory/root" "$directory/up"
mount -t overlay overlay -o "lowerdir=$image,upperdir=$directory/up,workdir=$directory/work,volatile" "$directory/root"
cd "$directory/root"

hostname "$name"
ip link set lo up
ip link set eth0 up
ip address add "$address" dev eth0

mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -o remount,bind,ro sys
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp

# Of /proc/sys only the network may be written: everything else is the machine's.
mkdir run/proc
mount -t proc proc run/proc
mount --bind proc/sys proc/sys
mount --bind run/proc/sys/net proc/sys/net
mount -o remount,bind,ro proc/sys
umount -l run/proc
rmdir run/proc

mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
  : >"dev/$device"
  mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
mount -t tmpfs -o mode=1777 tmpfs dev/shm

mkdir run/.before
pivot_root . run/.before
cd /
umount -l /run/.before
rmdir /run/.before 2>/dev/null || true

# What could reach the machine's clock, kernel or devices is dropped.
drop=-sys_time,-sys_module,-sys_rawio,-syslog,-mac_admin,-mac_override,-wake_alarm,-bpf,-perfmon
exec env -i container=failover-lab PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  setpriv --inh-caps -all --bounding-set "$drop" /lib/systemd/systemd </dev/null >/dev/null 2>&1
