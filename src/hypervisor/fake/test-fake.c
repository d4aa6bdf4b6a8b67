/* SPDX-License-Identifier: Apache-2.0 */
#include "hypervisor/fake/fake.h"

#include "base/clock.h"
#include "base/testing.h"
#include "hypervisor/testing-loop.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct test_host host;
static struct hypervisor *h;
static struct err e;

static int setup(void **state)
{
	test_host_init(&host, "fake");
	h = NULL;
	e = ERR_INIT;
	return 0;
}

static int teardown(void **state)
{
	test_host_free_machine(&host, h);
	test_host_deinit(&host);
	return 0;
}

static int make(const char *script)
{
	host.config.hypervisor.fake_script = (char *)script;
	return hypervisor_new(&host.params, &h, &e);
}

static int start(const char *script)
{
	assert_int_equal(make(script), 0);
	return hypervisor_start(h, 5000, &e);
}

static int alive(pid_t pid)
{
	return kill(pid, 0) == 0;
}

static void an_unknown_driver_names_the_known_ones(void **state)
{
	host.config.hypervisor.name = (char *)"bochs";
	assert_int_equal(make(""), -EINVAL);
	assert_string_equal(e.text, "hypervisor_name = \"bochs\": there is no such driver; known "
				    "are qemu, fake");
}

static void a_machine_starts_and_stops(void **state)
{
	assert_int_equal(start(""), 0);
	assert_int_equal(h->state, HYPERVISOR_RUNNING);
	pid_t pid = h->pid;
	assert_true(pid > 0 && alive(pid));
	assert_int_equal(hypervisor_start(h, 100, &e), -EBUSY);
	assert_string_equal(e.text, "start: the machine of sandbox s1 is running");

	assert_int_equal(hypervisor_stop(h, 5000, &e), 0);
	assert_false(alive(pid)); /* ended and reaped */
	assert_int_equal(h->state, HYPERVISOR_STOPPED);
	assert_int_equal(h->pid, pid);
	assert_int_equal(hypervisor_stop(h, 5000, &e), 0);
	assert_int_equal(hypervisor_stop(h, 0, &e), 0);
	assert_true(test_host_wait_exit(&host));
	assert_int_equal(host.exits, 1);
	assert_string_equal(host.reason, "the guest powered off");
	assert_int_equal(hypervisor_start(h, 100, &e), -EBUSY);
}

static void a_stop_without_grace_kills(void **state)
{
	assert_int_equal(start("power-off=never"), 0);
	uint64_t begun = time_now_ms();
	assert_int_equal(hypervisor_stop(h, 0, &e), 0);
	assert_true(time_now_ms() - begun < 1000);
	assert_true(test_host_wait_exit(&host));
	assert_string_equal(host.reason, "the machine was stopped");
	assert_int_equal(host.exit_code, 128 + SIGKILL);
}

static void a_disobedient_guest_costs_the_grace_and_no_more(void **state)
{
	assert_int_equal(start("power-off=never"), 0);
	uint64_t begun = time_now_ms();
	assert_int_equal(hypervisor_stop(h, 50, &e), 0);
	uint64_t took = time_now_ms() - begun;
	assert_true(took >= 50 && took < 1000);
	assert_true(test_host_wait_exit(&host));
	assert_string_equal(host.reason, "the machine was stopped");
	assert_int_equal(host.exit_code, 0); /* asked, not killed */
}

static void a_killed_vmm_is_noticed_once(void **state)
{
	assert_int_equal(start(""), 0);
	assert_int_equal(kill(h->pid, SIGKILL), 0);
	assert_true(test_host_wait_exit(&host));
	assert_int_equal(host.exit_code, 137);
	assert_string_equal(host.reason, "the fake VMM was killed by signal 9");
	assert_int_equal(h->state, HYPERVISOR_STOPPED);
	assert_int_equal(hypervisor_stop(h, 5000, &e), 0);
	assert_int_equal(host.exits, 1);
	assert_int_equal(hypervisor_connect(h, 1024, 100, &e), -EBUSY);
	assert_string_equal(e.text, "connect to the guest: the machine of sandbox s1 is stopped");
}

static void it_ends_by_itself(void **state)
{
	assert_int_equal(start("exit-after=300"), 0);
	assert_true(test_host_wait_exit(&host));
	assert_int_equal(host.exit_code, 0);
	assert_string_equal(host.reason, "the guest powered off");
}

static void it_ends_by_itself_with_a_code(void **state)
{
	assert_int_equal(start("exit-after=300:3"), 0);
	assert_true(test_host_wait_exit(&host));
	assert_int_equal(host.exit_code, 3);
	assert_string_equal(host.reason, "the fake VMM exited with code 3");
}

static void scripted_failures(void **state)
{
	static const struct {
		const char *script;
		int r;
		const char *text;
	} table[] = {
		{"start=fail:no luck", -EPROTO, "start the machine with fake: no luck"},
		{"start=exit:7", -EPROTO,
		 "start the machine with fake: the fake VMM exited with code 7"},
		{"start=delay:1000000", -ETIMEDOUT,
		 "start the machine with fake: the fake VMM did not come up in time"},
		{"start=hang", -ETIMEDOUT,
		 "start the machine with fake: the fake VMM did not come up in time"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		assert_int_equal(make(table[i].script), 0);
		assert_int_equal(hypervisor_start(h, 50, &e), table[i].r);
		assert_string_equal(e.text, table[i].text);
		assert_int_equal(h->state, HYPERVISOR_STOPPED);
		assert_true(h->pid == 0 || !alive(h->pid));
		assert_int_equal(hypervisor_stop(h, 1000, &e), 0);
		test_host_free_machine(&host, h);
		h = NULL;
	}
	assert_int_equal(host.exits, 0);
}

static void creation_can_fail(void **state)
{
	assert_int_equal(make("create=fail:not today"), -EBUSY);
	assert_string_equal(e.text, "not today");
	assert_null(h);
}

static void a_wrong_script_is_refused(void **state)
{
	static const char *const wrong[] = {
		"start",      "start=",		  "start=fail:",	  "start=delay:x",
		"frob=1",     "exit-after=1:256", "exit-after=-1",	  "start=exit:256",
		"stop=delay", "power-off=maybe",  "start=delay:99999999", "create=delay:1",
	};
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		assert_int_equal(make(wrong[i]), -EINVAL);
		assert_non_null(strstr(e.text, "is not understood"));
	}
	assert_int_equal(make(" start=delay:1; stop=fail:x;;console=a=b;"), 0);
	char text[16];
	hypervisor_console_tail(h, text, sizeof text);
	assert_string_equal(text, "a=b");
}

static void a_failed_stop_leaves_it_running(void **state)
{
	assert_int_equal(start("stop=fail:stuck"), 0);
	assert_int_equal(hypervisor_stop(h, 0, &e), -EPROTO);
	assert_string_equal(e.text, "stop the machine: stuck");
	assert_int_equal(h->state, HYPERVISOR_RUNNING);
	assert_true(alive(h->pid)); /* freeing kills it, without on_exit */
	pid_t pid = h->pid;
	test_host_free_machine(&host, h);
	h = NULL;
	assert_false(alive(pid));
	assert_int_equal(host.exits, 0);
}

static void devices_are_held_until_the_end(void **state)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	struct hypervisor_device d = {.type = DEVICE_VHOST_USER_FS,
				      .fs = {.fd = pair[1], .tag = "kataShared"}};
	assert_int_equal(start("add-device=fail:no slot"), 0);
	assert_int_equal(hypervisor_add_device(h, &d, &e), -EOPNOTSUPP);
	assert_string_equal(e.text, "hypervisor \"fake\" cannot add a device to a running machine");
	test_host_free_machine(&host, h);
	assert_int_equal(make("add-device=fail:no slot"), 0);
	assert_int_equal(hypervisor_add_device(h, &d, &e), -EBUSY);
	test_host_free_machine(&host, h);
	assert_int_equal(make(""), 0);
	assert_int_equal(hypervisor_add_device(h, &d, &e), 0);
	test_host_free_machine(&host, h);
	h = NULL;
	char c;
	assert_int_equal(read(pair[0], &c, 1), 0); /* end of file: it was closed */
	close(pair[0]);
}

static void the_agent_is_a_unix_socket(void **state)
{
	char dir[] = "/tmp/test-fake-XXXXXX", path[64];
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof path, "%s/agent", dir);
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	strcpy(a.sun_path, path);
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (void *)&a, sizeof a), 0);
	assert_int_equal(listen(listener, 1), 0);

	struct agent_address address;
	assert_int_equal(start(""), 0);
	assert_int_equal(hypervisor_agent_address(h, &address, &e), -EBUSY);
	assert_string_equal(e.text, "fake_agent_socket is not set");
	host.config.hypervisor.fake_agent_socket = path;
	assert_int_equal(hypervisor_agent_address(h, &address, &e), 0);
	assert_int_equal(address.transport, AGENT_UNIX);
	assert_string_equal(address.path, path);
	int fd = hypervisor_connect(h, 1024, 1000, &e);
	assert_true(fd >= 0);
	close(fd);
	close(listener);
	assert_int_equal(hypervisor_connect(h, 1024, 1000, &e), -ECONNREFUSED);
	unlink(path);
	rmdir(dir);
}

static void free_on_exit(void *arg, int exit_code, const char *reason)
{
	pthread_mutex_lock(&host.lock); /* orders it after the starter's last use */
	pthread_mutex_unlock(&host.lock);
	hypervisor_free(h);
	host.params.on_exit(host.params.on_exit_arg, exit_code, "freed");
}

static void the_owner_may_free_it_from_on_exit(void **state)
{
	struct hypervisor_params p = host.params;
	p.on_exit = free_on_exit;
	assert_int_equal(hypervisor_new(&p, &h, &e), 0);
	assert_int_equal(hypervisor_start(h, 5000, &e), 0);
	pthread_mutex_lock(&host.lock);
	assert_int_equal(kill(h->pid, SIGKILL), 0);
	pthread_mutex_unlock(&host.lock);
	assert_true(test_host_wait_exit(&host));
	assert_string_equal(host.reason, "freed");
	h = NULL;
}

static void a_netns_that_is_none_is_fatal(void **state)
{
	_cleanup_close_ int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	host.params.netns_fd = fd;
	assert_int_equal(start(""), -EINVAL);
	assert_non_null(strstr(e.text, "enter the network namespace"));
	assert_int_equal(h->pid, 0);
}

static void a_loop_that_stands_still_does_not_hold_a_start_up(void **state)
{
	/* the loop of these machines never runs: only deadlines end things */
	struct loop *still;
	assert_int_equal(loop_new(&still), 0);
	host.params.loop = still;
	assert_int_equal(make(""), 0);
	assert_int_equal(hypervisor_start(h, 30, &e), -ETIMEDOUT);
	assert_false(alive(h->pid));
	assert_int_equal(hypervisor_stop(h, 30, &e), 0);
	/* the loop gets to it when the machine is gone already */
	hypervisor_free(h);
	h = NULL;
	loop_stop(still);
	loop_run(still);
	loop_free(still);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_unknown_driver_names_the_known_ones),
		T(a_machine_starts_and_stops),
		T(a_stop_without_grace_kills),
		T(a_disobedient_guest_costs_the_grace_and_no_more),
		T(a_killed_vmm_is_noticed_once),
		T(it_ends_by_itself),
		T(it_ends_by_itself_with_a_code),
		T(scripted_failures),
		T(creation_can_fail),
		T(a_wrong_script_is_refused),
		T(a_failed_stop_leaves_it_running),
		T(devices_are_held_until_the_end),
		T(the_agent_is_a_unix_socket),
		T(the_owner_may_free_it_from_on_exit),
		T(a_netns_that_is_none_is_fatal),
		T(a_loop_that_stands_still_does_not_hold_a_start_up),
	};
	return RUN_TESTS();
}
