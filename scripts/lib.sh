# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# Sourced by quickstart and check, after they have set $top.
: "${top:?}"

die()
{
	echo "${0##*/}: $*" >&2
	exit 1
}

need_root()
{
	[ "$(id -u)" -eq 0 ] || die "needs root: sudo ./${0##*/}"
}

# as_owner COMMAND...: runs it as the user who called sudo if the sources are theirs, so that root
# leaves no files in the build directory that they cannot change.
as_owner()
{
	if [ -n "${SUDO_USER:-}" ] && [ "$(stat -c %U "$top")" = "$SUDO_USER" ] &&
		[ "$SUDO_USER" != root ]; then
		runuser -u "$SUDO_USER" -- "$@"
	else
		"$@"
	fi
}

# to_owner PATH...: gives them to that user
to_owner()
{
	if [ -n "${SUDO_UID:-}" ] && [ "$(stat -c %u "$top")" = "$SUDO_UID" ]; then
		chown -R "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$@"
	fi
}

# now_ms: a clock for differences
now_ms()
{
	date +%s%3N
}

# seconds_since MS: with one decimal
seconds_since()
{
	ms=$(($(now_ms) - $1))
	echo "$((ms / 1000)).$((ms % 1000 / 100))"
}
