# SPDX-License-Identifier: Apache-2.0
"""Many runs of the local runner: methods x tasks x seeds, from one file."""
