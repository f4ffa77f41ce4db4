# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC1090,SC2034,SC2296  # paths known when run; read by a sourced script; the line for zsh
# `source tools/env.sh` (bash, zsh) makes a shell in which ros2, furl_ros, sim and furl_interfaces work.

if [ -n "${BASH_VERSION-}" ]; then
  _furl_shell=bash _furl_root=${BASH_SOURCE[0]}
else
  _furl_shell=zsh _furl_root=${(%):-%x}
fi
_furl_root=$(cd -- "$(dirname -- "$_furl_root")/.." && pwd -P)

if [ "${FURL_ROS_NETWORK:=closed}" != closed ] && [ "$FURL_ROS_NETWORK" != open ]; then
  echo "tools/env.sh: FURL_ROS_NETWORK is '$FURL_ROS_NETWORK'; accepted: closed, open" >&2
  unset _furl_root _furl_shell
  return 1
elif [ -e "$_furl_root/.venv/furl-ros" ] && [ -e "$_furl_root/install/local_setup.$_furl_shell" ]; then
  # The scripts of ROS and colcon read variables that may be unset, and run commands that may fail.
  _furl_options=$-
  set +eu
  _furl_ros=$(cat "$_furl_root/.venv/furl-ros")
  . "$_furl_root/tools/lib/ros_environment.sh"
  # colcon's script fails where its interpreter's path has a space, unless it is told another one.
  COLCON_PYTHON_EXECUTABLE=$(readlink -f "$_furl_root/.venv/bin/python")
  . "$_furl_root/install/local_setup.$_furl_shell"
  unset COLCON_PYTHON_EXECUTABLE

  # Where tools/train runs a graph, this shell looks at it.
  if [ -z "${ROS_DOMAIN_ID:-}" ]; then
    . "$_furl_root/tools/lib/domains.sh"
    _furl_domain=$(furl_find_domain)
    if [ "${_furl_domain:-0}" != 0 ]; then
      export ROS_DOMAIN_ID=$_furl_domain
      echo "tools/env.sh: ROS domain $ROS_DOMAIN_ID, that of the graph that was started last" >&2
    fi
  fi
  # Frames are rendered without a display, unless the shell says otherwise.
  export MUJOCO_GL="${MUJOCO_GL:-egl}"

  # Closed: no other machine reaches the graph. The profile does all that LOCALHOST is for; rmw_fastrtps would add, for
  # LOCALHOST, sockets that are bound to every address. Other middlewares know nothing but LOCALHOST.
  export FURL_ROS_NETWORK FASTRTPS_DEFAULT_PROFILES_FILE FASTDDS_DEFAULT_PROFILES_FILE ROS_AUTOMATIC_DISCOVERY_RANGE
  case $FURL_ROS_NETWORK:${RMW_IMPLEMENTATION:-rmw_fastrtps_cpp} in
    open:*) ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET ;;
    closed:rmw_fastrtps*) ROS_AUTOMATIC_DISCOVERY_RANGE=SYSTEM_DEFAULT ;;
    closed:*) ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST ;;
  esac
  # Fast DDS 2 (Jazzy) reads the first, Fast DDS 3 the second.
  FASTRTPS_DEFAULT_PROFILES_FILE=$_furl_root/config/fastdds_$FURL_ROS_NETWORK.xml
  FASTDDS_DEFAULT_PROFILES_FILE=$FASTRTPS_DEFAULT_PROFILES_FILE

  case $_furl_options in *e*) set -e ;; esac
  case $_furl_options in *u*) set -u ;; esac
  unset _furl_root _furl_shell _furl_ros _furl_options _furl_domain _furl_domains
else
  echo "tools/env.sh: furl_ros is not set up yet: run '$_furl_root/tools/setup' first" >&2
  unset _furl_root _furl_shell
  return 1
fi
