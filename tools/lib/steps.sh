# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154  # the variable that is given
# Sourced by tools/setup: steps that tell what they do and for how long, with their output in a log.
# Given: log, the log file.

say() { printf '[setup] %s\n' "$*"; }

fail() { # code, text
  printf '[setup] error: %s\n' "$2" >&2
  exit "$1"
}

_heartbeat=

stop_heartbeat() {
  [ -z "$_heartbeat" ] || kill "$_heartbeat" 2>/dev/null || true
  _heartbeat=
}
trap stop_heartbeat EXIT

show_heartbeat() { # title: for how long the step has run and the last thing that it said
  local seconds=0 last
  while sleep 1 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
    seconds=$((seconds + 1))
    last=$(tail -n 1 "$log" | tr -dc '[:print:]' | cut -c 1-80)
    if [ -t 1 ]; then
      printf '\r\033[K[setup] %s ... %d s  %s' "$1" "$seconds" "$last"
    elif [ $((seconds % 15)) = 0 ]; then
      say "$1 ... $seconds s  $last"
    fi
  done
}

step() { # title, command...: run the command as a step; exits with 1 when it fails
  local title=$1 start=$SECONDS rc
  shift
  mkdir -p "$(dirname "$log")"
  say "$title ..."
  printf '== %s\n' "$title" >>"$log"
  show_heartbeat "$title" 9<&- &
  _heartbeat=$!
  # Neither `if (...)` nor `(...) ||`: both would turn off errexit inside.
  set +e
  (
    trap - EXIT
    set -e
    "$@"
  ) >>"$log" 2>&1 </dev/null
  rc=$?
  set -e
  stop_heartbeat
  [ ! -t 1 ] || printf '\r\033[K'
  if [ $rc != 0 ]; then
    say "$title: failed after $((SECONDS - start)) s. The end of its log:" >&2
    tail -n 25 "$log" | cut -c 1-200 | sed 's/^/    /' >&2
    fail 1 "$title: failed; the whole log is $log"
  fi
  say "$title: $((SECONDS - start)) s"
}
