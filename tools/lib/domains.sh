# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced (bash, zsh) by tools/train and tools/env.sh: which ROS domains the graphs of tools/train are in.
# A graph holds the lock of its domain's file as long as one of its processes lives. Tests hold such locks, too
# (test/support/domains.py), and say so in the file: what they run is nothing to look at.

_furl_domains=/tmp/furl_ros-$(id -u)

furl_take_domain() { # exports ROS_DOMAIN_ID, the first domain that no other graph of tools/train has; bash only
  local number lock
  mkdir -m 700 -p "$_furl_domains"
  if [ ! -O "$_furl_domains" ]; then return; fi # somebody else's: all stays as it is
  for ((number = 0; number < 100; number++)); do
    exec {lock}>>"$_furl_domains/$number"
    if flock -n "$lock"; then
      : >"$_furl_domains/$number"
      touch "$_furl_domains/$number"
      export ROS_DOMAIN_ID=$number
      return
    fi
    exec {lock}>&-
  done
}

furl_find_domain() { # prints the domain of the graph that was started last, nothing when none runs
  local file
  [ -O "$_furl_domains" ] || return 0
  # shellcheck disable=SC2012  # names are numbers
  ls -t "$_furl_domains" | while read -r file; do
    if [ ! -s "$_furl_domains/$file" ] && ! flock -n "$_furl_domains/$file" true; then
      printf '%s' "$file"
      break
    fi
  done
}
