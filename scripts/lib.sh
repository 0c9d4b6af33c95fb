# shellcheck shell=bash
# What the scripts in this directory share. Sourced, never run.

# One line on standard error: standard output belongs to what a script was asked for.
say() { printf '%s\n' "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}

now_ms() { date +%s%3N; }

# A duration since the given now_ms, in seconds with one digit: "4.2 s".
elapsed() {
  local ms=$(($(now_ms) - $1))
  printf '%d.%d s' $((ms / 1000)) $((ms % 1000 / 100))
}

# ---- processes --------------------------------------------------------------------------------------------------
# A process is remembered in a file as "pid start-time". The start time (field 22 of /proc/PID/stat) makes it safe to
# signal a process that an earlier run left behind: a pid that was given to somebody else in the meantime does not match.

# spawn RECORD LOG COMMAND...: starts the command in a session of its own (so that ^C in a terminal reaches the script
# and not the servers) and lets the new process write its record itself, before it becomes the command: a script that is
# killed at any moment leaves no process without a record.
spawn() {
  local record=$1 log=$2
  shift 2
  rm -f "$record"
  # Locks (descriptor 9) belong to the scripts and must not outlive them in a server.
  # shellcheck disable=SC2016 # expanded by the inner shell
  setsid bash -c '
    record=$1
    shift
    read -r stat </proc/self/stat
    read -ra fields <<<"${stat##*) }"
    printf "%s %s\n" "$$" "${fields[19]}" >"$record.new" && mv "$record.new" "$record" || exit 1
    exec "$@"' spawn "$record" "$@" </dev/null >>"$log" 2>&1 9>&- &
}

# recorded_pid RECORD: prints the pid if that very process still runs (a zombie does not).
recorded_pid() {
  local pid start stat fields
  { read -r pid start <"$1"; } 2>/dev/null || return 1
  { read -r stat <"/proc/$pid/stat"; } 2>/dev/null || return 1
  read -ra fields <<<"${stat##*) }"
  [[ ${fields[0]} != Z && ${fields[19]} == "$start" ]] || return 1
  printf '%s\n' "$pid"
}

# stop_recorded RECORD SIGNAL SECONDS: asks, waits, then insists on the whole process group.
stop_recorded() {
  local record=$1 signal=$2 deadline pid
  deadline=$(($(now_ms) + $3 * 1000))
  if pid=$(recorded_pid "$record"); then
    kill "-$signal" "$pid" 2>/dev/null || true
    while recorded_pid "$record" >/dev/null; do
      if (($(now_ms) > deadline)); then
        say "process $pid ($(basename "$record" .pid)) did not stop in $3 s: killed"
        kill -KILL -- "-$pid" 2>/dev/null || kill -KILL "$pid" 2>/dev/null || true
        deadline=$(($(now_ms) + 5000))
      fi
      sleep 0.05
    done
  fi
  rm -f "$record"
}

# wait_until SECONDS RECORD COMMAND...: polls the command until it succeeds; fails when time is up or when the recorded
# process is gone. A process that has not written its record yet counts as alive.
wait_until() {
  local deadline=$(($(now_ms) + $1 * 1000)) record=$2
  shift 2
  until "$@"; do
    if [[ -e $record ]] && ! recorded_pid "$record" >/dev/null; then return 1; fi
    (($(now_ms) < deadline)) || return 1
    sleep 0.05
  done
}

# ---- the network ------------------------------------------------------------------------------------------------

# Does anything accept a connection on this port of 127.0.0.1?
port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Status code of a GET on 127.0.0.1, without needing curl: http_status PORT PATH
http_status() {
  local line
  line=$(
    exec 2>/dev/null
    exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
    printf 'GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n' "$2" >&3
    IFS= read -r -t 5 line <&3 && printf '%s' "$line"
  ) || return 1
  [[ $line =~ ^HTTP/1\.[01]\ ([0-9]{3}) ]] && printf '%s\n' "${BASH_REMATCH[1]}"
}

# ---- Debian's packages ------------------------------------------------------------------------------------------

as_root() {
  if [[ $(id -u) == 0 ]]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "this needs root (no sudo here): $*"
  fi
}

readonly POLICY=/usr/sbin/policy-rc.d
readonly POLICY_SAVED=/usr/sbin/policy-rc.d.scoreboard-saved

# Puts back the policy-rc.d that was there before, also one that an interrupted run left aside.
restore_policy() {
  as_root sh -c "
    if [ -e $POLICY_SAVED ] || [ -L $POLICY_SAVED ]; then mv -f $POLICY_SAVED $POLICY
    elif grep -qs 'made by scoreboard' $POLICY; then rm -f $POLICY
    fi"
}

# Keeps packages from starting their services: a policy-rc.d that answers 101 ("not allowed").
forbid_service_starts() {
  local answer=0
  restore_policy
  if [[ -x $POLICY ]]; then
    "$POLICY" redis-server start >/dev/null 2>&1 || answer=$?
    ((answer != 101)) || return 0 # it forbids already: leave it alone
  fi
  as_root sh -c "
    if [ -e $POLICY ] || [ -L $POLICY ]; then mv $POLICY $POLICY_SAVED; fi
    printf '#!/bin/sh\n# made by scoreboard scripts for one installation\nexit 101\n' >$POLICY && chmod 755 $POLICY"
}

# install_packages PACKAGE...: from Debian, without starting any service of theirs. Several clones may ask at once.
install_packages() {
  local began log
  began=$(now_ms)
  command -v apt-get >/dev/null || die "missing: $*. This is not Debian: install them by hand and try again"
  if [[ $(id -u) != 0 ]] && ! command -v sudo >/dev/null; then
    die "missing: $*. Installing needs root and there is no sudo; as root: apt-get install --no-install-recommends $*"
  fi
  say "installing Debian packages: $*"
  log=$(mktemp)
  if ! (
    exec 8>"${TMPDIR:-/tmp}/scoreboard-install.$(id -u).lock"
    flock 8
    trap restore_policy EXIT
    trap 'exit 130' INT TERM
    forbid_service_starts
    export DEBIAN_FRONTEND=noninteractive
    local apt=(apt-get -qq -y -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3)
    as_root "${apt[@]}" update 8>&- &&
      as_root env DEBIAN_FRONTEND=noninteractive "${apt[@]}" install --no-install-recommends "$@" 8>&-
  ) >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    die "could not install $*: see above; by hand: apt-get install --no-install-recommends $*"
  fi
  rm -f "$log"
  say "installed in $(elapsed "$began")"
}
