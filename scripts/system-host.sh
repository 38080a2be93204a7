# Boots a throw-away Debian host with a real systemd in a container. Sourced by scripts/system-test.
#
# systemd-nspawn boots an overlay over a cached base, in a mount namespace of its own, so that nothing is left
# on this machine. Commands enter with nsenter, which needs no systemd here. Two things such a host does not
# show: memory limits where cgroup v1 owns the controllers, and IP filters without the bpf system call.
#
#   host_base               makes the base file system of $MESHRELAY_SUITE (bookworm, trixie) once, as $MESHRELAY_BASE
#   host_up NAME            boots; returns when systemd is up
#   host_run NAME CMD…      runs a command inside, outside of any unit's sandbox; its exit status comes back
#   host_put NAME PATH      standard input becomes the file PATH inside
#   host_down NAME          powers off and removes every trace; safe to call twice

MESHRELAY_SUITE=${MESHRELAY_SUITE:-bookworm}
MESHRELAY_BASE=${MESHRELAY_BASE:-/var/cache/meshrelay/$MESHRELAY_SUITE}
HOST_WORK=${HOST_WORK:-$(mktemp -d /var/tmp/meshrelay-hosts.XXXXXX)}

host_base() {
    [ -x "$MESHRELAY_BASE/lib/systemd/systemd" ] && return
    echo "making the base file system $MESHRELAY_BASE (about two minutes, once)"
    mkdir -p "$(dirname "$MESHRELAY_BASE")"
    rm -rf "$MESHRELAY_BASE.partial"
    # What the package depends on is here already, so that dpkg alone can install it, without a network.
    local libraries=libssl3,libnghttp2-14,liburing2,libsqlite3-0,libstdc++6
    [ "$MESHRELAY_SUITE" = bookworm ] || libraries=${libraries/libssl3,/libssl3t64,}
    debootstrap --variant=minbase --include="systemd,systemd-sysv,dbus,iproute2,procps,kmod,curl,man-db,openssl,$libraries" \
        "$MESHRELAY_SUITE" "$MESHRELAY_BASE.partial" >"$HOST_WORK/debootstrap.log" || { tail "$HOST_WORK/debootstrap.log"; return 1; }
    mv "$MESHRELAY_BASE.partial" "$MESHRELAY_BASE"
}

host_up() {
    local name=$1 work=$HOST_WORK/$1 group
    group=$(findmnt -n -t cgroup2 -o TARGET | head -n 1)/meshrelay-$name-$$
    mkdir -p "$work"/{upper,work,root} "$group"
    echo "$group" >"$work/cgroup"
    # A cgroup of its own, or two hosts meet in nspawn's payload/ and supervisor/.
    BASE=$MESHRELAY_BASE NAME=$name WORK=$work GROUP=$group setsid unshare --mount --propagation private bash -c '
        set -e
        echo $$ >"$GROUP/cgroup.procs"
        mount -t overlay overlay -o "lowerdir=$BASE,upperdir=$WORK/upper,workdir=$WORK/work" "$WORK/root"
        umount -l -R /sys/fs/cgroup
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
        echo "$NAME" >"$WORK/root/etc/hostname"
        : >"$WORK/root/etc/machine-id"
        echo $$ >"$WORK/pid"
        exec env SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn -b -D "$WORK/root" --machine="$NAME" \
            --private-network --register=no --keep-unit --link-journal=no --console=read-only --system-call-filter=bpf
    ' </dev/null >"$work/console.log" 2>&1 &
    local tries state
    for tries in $(seq 100); do
        sleep 0.2
        host_leader "$name" >"$work/leader" 2>/dev/null || continue
        state=$(host_run "$name" systemctl is-system-running 2>/dev/null || true)
        case $state in running | degraded) return 0 ;; esac
    done
    echo "the host $name did not boot; the end of its console:" >&2
    tail -n 20 "$work/console.log" >&2
    return 1
}

# The container's process 1, once it is systemd.
host_leader() {
    local pid child
    pid=$(cat "$HOST_WORK/$1/pid") || return 1
    for child in $(cat "/proc/$pid/task/$pid/children"); do
        [ "$(cat "/proc/$child/comm")" = systemd ] && echo "$child" && return 0
    done
    return 1
}

host_run() {
    local name=$1
    shift
    nsenter -t "$(cat "$HOST_WORK/$name/leader")" -m -u -i -n -p -C -r -w \
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}

host_put() { host_run "$1" sh -c 'mkdir -p "$(dirname "$1")" && cat >"$1"' sh "$2"; }

host_down() {
    local work=$HOST_WORK/$1 pid group tries
    [ -d "$work" ] || return 0
    pid=$(cat "$work/pid" 2>/dev/null || true)
    if [ -n "$pid" ] && [ -s "$work/leader" ]; then
        kill -s RTMIN+4 "$(cat "$work/leader")" 2>/dev/null || true
        for tries in $(seq 75); do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
    fi
    [ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true
    group=$(cat "$work/cgroup")
    if [ -e "$group/cgroup.kill" ]; then echo 1 >"$group/cgroup.kill" || true; fi
    for tries in $(seq 25); do
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
        [ -d "$group" ] || break
        sleep 0.2
    done
    rm -rf "$work"
}
