#!/bin/bash
# Stand-in for libvirt's `virsh` on a VM-Host of the real lab: no hypervisor runs there, the machines are namespaces.
#
# It knows what the reference inventory uses, says it in libvirt's words, and asks the lab's power controller, which
# really cuts and gives power. Snapshots are empty folders: SIMULATED, nothing is stored.
#
# It is asked hundreds of times in a run, so it starts nothing that takes longer than the C program would.
set -u
controller=/dev/tcp/10.77.0.250/6230
patience=10

fail() {
  printf 'error: %s\n' "$1" >&2
  exit 1
}

say() {
  printf '%s\n\n' "$1"
}

ask() { # ORDER; the answer is in $answer. Who can't be reached at all is told by the network, after some seconds.
  { exec 3<>"$controller"; } 2>/dev/null || fail "the power controller can't be reached"
  printf '%s\n' "$1" >&3
  read -r -t "$patience" answer <&3 || fail "the power controller does not answer"
  exec 3>&-
}

[ "${1-}" = --connect ] && shift 2
[ $# -ge 2 ] || fail "command '$*' is not known to this stand-in"
command=$1 vm=$2
shift 2
ask "status $vm"
case $answer in
  on) state=running ;;
  off) state='shut off' ;;
  *) fail "failed to get domain '$vm'" ;;
esac
snapshots=/var/lib/lab-snapshots/$vm

case $command in
  start)
    [ "$state" = 'shut off' ] || fail "Domain is already active"
    ask "on $vm"
    [ "$answer" = on ] || fail "Failed to start domain '$vm'"
    say "Domain '$vm' started"
    ;;
  destroy)
    [ "$state" = running ] || fail "Requested operation is not valid: domain is not running"
    ask "cut $vm"
    [ "$answer" = off ] || fail "Failed to destroy domain '$vm'"
    say "Domain '$vm' destroyed"
    ;;
  domstate)
    say "$state"
    ;;
  dominfo)
    say "Name:           $vm
State:          $state
Autostart:      disable"
    ;;
  snapshot-create-as)
    mkdir -p "$snapshots"
    mkdir "$snapshots/$1" 2>/dev/null || fail "operation failed: domain snapshot $1 already exists"
    say "Domain snapshot $1 created"
    ;;
  snapshot-list)
    if [ -d "$snapshots" ]; then ls "$snapshots"; fi
    echo
    ;;
  snapshot-delete)
    rmdir "$snapshots/$1" 2>/dev/null || fail "Domain snapshot not found: no domain snapshot with matching name '$1'"
    say "Domain snapshot $1 deleted"
    ;;
  *)
    fail "unknown command: '$command'"
    ;;
esac
