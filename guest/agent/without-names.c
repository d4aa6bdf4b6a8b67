/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stand-ins for what a static agent must not contain: libc's name services. libuv refers to them in
 * objects that are linked for other reasons, and libc's own would bring its resolver, its dynamic
 * loader and 200 KiB with them, and need shared libraries that no guest image has. The agent knows
 * no users and resolves no names, so none of these is ever called; each says so if it is.
 */
#include <errno.h>
#include <grp.h>
#include <netdb.h>
#include <pwd.h>
#include <stddef.h>

/* libc marks arguments as non-null that are not looked at here. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
		struct addrinfo **ret)
{
	return EAI_FAIL;
}

void freeaddrinfo(struct addrinfo *ai)
{
}

int getnameinfo(const struct sockaddr *sa, socklen_t salen, char *host, socklen_t hostlen,
		char *serv, socklen_t servlen, int flags)
{
	return EAI_FAIL;
}

int getpwuid_r(uid_t uid, struct passwd *pwd, char *buf, size_t len, struct passwd **ret)
{
	*ret = NULL;
	return ENOSYS;
}

int getgrgid_r(gid_t gid, struct group *grp, char *buf, size_t len, struct group **ret)
{
	*ret = NULL;
	return ENOSYS;
}
