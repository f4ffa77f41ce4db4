# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC1090,SC1091,SC2154  # the variables that are given
# Sourced (bash, zsh) by tools/env.sh and tools/setup: turns on the virtual environment and the ROS 2 below the
# workspace, without the workspace itself.
# Given: _furl_root, the repository; _furl_ros, `pip` or the folder of an installed ROS 2; _furl_shell, bash or zsh.

if [ "$_furl_ros" = pip ]; then
  . "$_furl_root/.venv/bin/activate"
  export ROS_VERSION=2 ROS_PYTHON_VERSION=3 ROS_DISTRO=jazzy
  export AMENT_PREFIX_PATH="$_furl_root/.venv" CMAKE_PREFIX_PATH="$_furl_root/.venv"
  export RMW_IMPLEMENTATION="${RMW_IMPLEMENTATION:-rmw_fastrtps_cpp}"
  # The wheels' start-up hook sets this library path and starts every interpreter a second time; it need not now.
  case ":${LD_LIBRARY_PATH-}" in
    *":$_furl_root/.venv/lib:"*) ;;
    *)
      LD_LIBRARY_PATH=$_furl_root/.venv/lib$(
        printf ':%s' "$_furl_root"/.venv/lib/python3*/site-packages/ros_*.libs
      )${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
      ;;
  esac
  export LD_LIBRARY_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
else
  . "$_furl_ros/setup.$_furl_shell"
  # After ROS, so that `python3` is the virtual environment's, which sees both.
  . "$_furl_root/.venv/bin/activate"
fi
