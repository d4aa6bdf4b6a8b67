/* SPDX-License-Identifier: Apache-2.0 */
#include "service/sandbox-options.h"

#include "rpc/any.h"

#include "proto/cri_sandbox.pb-c.h"
#include "proto/runtimeoptions.pb-c.h"

#include "base/testing.h"

#include <string.h>

#define REQUEST Containerd__Runtime__Sandbox__V1__CreateSandboxRequest
#define REQUEST_INIT CONTAINERD__RUNTIME__SANDBOX__V1__CREATE_SANDBOX_REQUEST__INIT
#define ANNOTATION Containerd__Runtime__Sandbox__V1__CreateSandboxRequest__AnnotationsEntry
#define ANNOTATION_INIT \
	CONTAINERD__RUNTIME__SANDBOX__V1__CREATE_SANDBOX_REQUEST__ANNOTATIONS_ENTRY__INIT

static int read_with(REQUEST *req, const ProtobufCMessage *options, struct sandbox_options *o,
		     struct err *e)
{
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	assert_int_equal(rpc_any_pack(&any, options, NULL), 0);
	req->sandbox_id = "sid";
	req->options = &any;
	*e = ERR_INIT;
	*o = SANDBOX_OPTIONS_INIT;
	int r = sandbox_options_read(req, o, e);
	rpc_any_clear(&any);
	return r;
}

static const char *annotation(const struct sandbox_options *o, const char *key)
{
	const char *value = oci_spec_annotation(o->spec, key);
	return value ? value : "(none)";
}

static void a_pod_of_kubernetes_is_read_whole(void **state)
{
	struct sandbox_options o;
	struct err e;
	REQUEST req = REQUEST_INIT;
	ANNOTATION own = ANNOTATION_INIT;
	ANNOTATION *owns[] = {&own};
	Runtime__V1__PodSandboxConfig c = RUNTIME__V1__POD_SANDBOX_CONFIG__INIT;
	Runtime__V1__PodSandboxMetadata metadata = RUNTIME__V1__POD_SANDBOX_METADATA__INIT;
	Runtime__V1__PodSandboxConfig__AnnotationsEntry a =
		RUNTIME__V1__POD_SANDBOX_CONFIG__ANNOTATIONS_ENTRY__INIT;
	Runtime__V1__PodSandboxConfig__AnnotationsEntry b = a, *annotations[] = {&a, &b};
	Runtime__V1__LinuxPodSandboxConfig lin = RUNTIME__V1__LINUX_POD_SANDBOX_CONFIG__INIT;
	Runtime__V1__LinuxPodSandboxConfig__SysctlsEntry sysctl =
		RUNTIME__V1__LINUX_POD_SANDBOX_CONFIG__SYSCTLS_ENTRY__INIT;
	Runtime__V1__LinuxPodSandboxConfig__SysctlsEntry *sysctls[] = {&sysctl};
	Runtime__V1__LinuxContainerResources resources =
		RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;

	metadata.name = "pod";
	metadata.namespace_ = "kube-system";
	metadata.uid = "u-1";
	a.key = "a", a.value = "of the pod", b.key = "b", b.value = "of the pod";
	sysctl.key = "net.core.somaxconn", sysctl.value = "1024";
	resources.cpu_quota = 200000;
	resources.cpu_period = 100000;
	resources.memory_limit_in_bytes = 1 << 30;
	lin.cgroup_parent = "/kubepods/burstable/pod1";
	lin.sysctls = sysctls;
	lin.n_sysctls = 1;
	lin.resources = &resources;
	c.metadata = &metadata;
	c.hostname = "host-1.example";
	c.log_directory = "/var/log/pods/x";
	c.annotations = annotations;
	c.n_annotations = 2;
	c.linux = &lin;
	own.key = "b", own.value = "of the request";
	req.annotations = owns;
	req.n_annotations = 1;
	req.netns_path = "/run/netns/x";

	assert_int_equal(read_with(&req, &c.base, &o, &e), 0);
	assert_string_equal(o.spec->hostname, "host-1.example");
	assert_string_equal(annotation(&o, "a"), "of the pod");
	assert_string_equal(annotation(&o, "b"), "of the request");
	assert_string_equal(annotation(&o, "io.kubernetes.cri.container-type"), "sandbox");
	assert_string_equal(annotation(&o, "io.kubernetes.cri.sandbox-id"), "sid");
	assert_string_equal(annotation(&o, "io.kubernetes.cri.sandbox-name"), "pod");
	assert_string_equal(annotation(&o, "io.kubernetes.cri.sandbox-namespace"), "kube-system");
	assert_string_equal(annotation(&o, "io.kubernetes.cri.sandbox-uid"), "u-1");
	assert_string_equal(annotation(&o, "io.kubernetes.cri.sandbox-log-directory"),
			    "/var/log/pods/x");
	assert_string_equal(annotation(&o, "io.kubernetes.cri.sandbox-cpu-quota"), "200000");
	assert_string_equal(annotation(&o, "io.kubernetes.cri.sandbox-cpu-period"), "100000");
	assert_string_equal(annotation(&o, "io.kubernetes.cri.sandbox-memory"), "1073741824");
	assert_string_equal(o.spec->cgroups_path, "/kubepods/burstable/pod1/sid");
	assert_int_equal(o.spec->n_sysctl, 1);
	assert_string_equal(o.spec->sysctl[0].value, "1024");
	assert_string_equal(oci_spec_namespace(o.spec, OCI_NS_NETWORK)->path, "/run/netns/x");
	assert_true(o.wants_host_dns); /* dns_config was not told */
	assert_null(o.resolv_conf);
	sandbox_options_deinit(&o);

	lin.cgroup_parent = "kubepods.slice/kubepods-pod1.slice";
	assert_int_equal(read_with(&req, &c.base, &o, &e), 0);
	assert_string_equal(o.spec->cgroups_path, "kubepods-pod1.slice:cri-containerd:sid");
	sandbox_options_deinit(&o);
}

static void dns_has_the_form_of_the_file(void **state)
{
	struct sandbox_options o;
	struct err e;
	REQUEST req = REQUEST_INIT;
	char *servers[] = {"10.0.0.10", "10.0.0.11"}, *searches[] = {"a", "b"},
	     *options[] = {"x:1"};
	Runtime__V1__PodSandboxConfig c = RUNTIME__V1__POD_SANDBOX_CONFIG__INIT;
	Runtime__V1__DNSConfig dns = RUNTIME__V1__DNSCONFIG__INIT;
	c.dns_config = &dns;
	assert_int_equal(read_with(&req, &c.base, &o, &e), 0);
	assert_string_equal(o.resolv_conf, ""); /* told to be empty: not as the host's */
	assert_false(o.wants_host_dns);
	sandbox_options_deinit(&o);

	dns.servers = servers, dns.n_servers = 2;
	dns.searches = searches, dns.n_searches = 2;
	dns.options = options, dns.n_options = 1;
	assert_int_equal(read_with(&req, &c.base, &o, &e), 0);
	assert_string_equal(o.resolv_conf, "search a b\nnameserver 10.0.0.10\n"
					   "nameserver 10.0.0.11\noptions x:1\n");
	sandbox_options_deinit(&o);
}

static void words_that_would_be_something_else_are_refused(void **state)
{
	struct sandbox_options o;
	struct err e;
	REQUEST req = REQUEST_INIT;
	static char *const bad[] = {"", "1.1.1.1\noptions debug", "a b", "\x7f", "\xc3\xa4"};
	char *word, *many[SANDBOX_DNS_WORDS_MAX + 1];
	Runtime__V1__PodSandboxConfig c = RUNTIME__V1__POD_SANDBOX_CONFIG__INIT;
	Runtime__V1__DNSConfig dns = RUNTIME__V1__DNSCONFIG__INIT;
	c.dns_config = &dns;
	dns.servers = &word;
	dns.n_servers = 1;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		word = bad[i];
		assert_int_equal(read_with(&req, &c.base, &o, &e), -EINVAL);
		assert_non_null(strstr(e.text, "dns_config.servers[0]"));
	}
	for (size_t i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = "x";
	dns.servers = many;
	dns.n_servers = ARRAY_SIZE(many);
	assert_int_equal(read_with(&req, &c.base, &o, &e), -E2BIG);

	c.dns_config = NULL;
	c.hostname = "two words";
	assert_int_equal(read_with(&req, &c.base, &o, &e), -EINVAL);
	assert_non_null(strstr(e.text, "hostname"));
}

static void the_runtimes_own_options_name_the_configuration(void **state)
{
	struct sandbox_options o;
	struct err e;
	REQUEST req = REQUEST_INIT;
	Runtimeoptions__V1__Options own = RUNTIMEOPTIONS__V1__OPTIONS__INIT;
	own.config_path = "/x.toml";
	own.config_body.data = (uint8_t *)"[runtime]";
	own.config_body.len = 9;
	assert_int_equal(read_with(&req, &own.base, &o, &e), 0);
	assert_string_equal(o.config_file, "/x.toml");
	assert_string_equal(o.config_body, "[runtime]");
	assert_false(o.wants_host_dns);
	sandbox_options_deinit(&o);

	const Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
	assert_int_equal(read_with(&req, &empty.base, &o, &e), 0);
	assert_null(o.config_file);
	sandbox_options_deinit(&o);
}

static int add(struct sandbox_options *o, const char *json, struct err *e)
{
	REQUEST req = REQUEST_INIT;
	*o = SANDBOX_OPTIONS_INIT;
	*e = ERR_INIT;
	assert_int_equal(sandbox_options_read(&req, o, e), 0);
	int r = sandbox_options_add_spec(o, json, strlen(json), e);
	if (r < 0)
		sandbox_options_deinit(o);
	return r;
}

static void a_spec_adds_what_the_request_did_not_tell(void **state)
{
	struct sandbox_options o;
	struct err e;
	REQUEST req = REQUEST_INIT;
	static const char json[] =
		"{\"hostname\":\"h\",\"annotations\":{\"k\":\"v\"},\"linux\":{\"namespaces\":["
		"{\"type\":\"pid\"},{\"type\":\"network\",\"path\":\"/run/netns/y\"}]}}";
	assert_int_equal(add(&o, json, &e), 0);
	assert_string_equal(o.spec->hostname, "h");
	assert_string_equal(annotation(&o, "k"), "v");
	assert_string_equal(oci_spec_namespace(o.spec, OCI_NS_NETWORK)->path, "/run/netns/y");
	sandbox_options_deinit(&o);

	req.netns_path = "/run/netns/z";
	assert_int_equal(sandbox_options_read(&req, &o, &e), 0);
	assert_int_equal(sandbox_options_add_spec(&o, json, strlen(json), &e), 0);
	assert_string_equal(oci_spec_namespace(o.spec, OCI_NS_NETWORK)->path, "/run/netns/z");
	sandbox_options_deinit(&o);

	assert_int_equal(add(&o, "{}", &e), 0);
	sandbox_options_deinit(&o);
	assert_int_equal(add(&o, "{\"linux\":{\"namespaces\":[{\"type\":\"network\"}]}}", &e), 0);
	assert_null(oci_spec_namespace(o.spec, OCI_NS_NETWORK));
	sandbox_options_deinit(&o);
}

static void a_spec_that_is_wrong_is_refused_by_its_field(void **state)
{
	struct sandbox_options o;
	struct err e;
	assert_int_equal(add(&o, "", &e), -EINVAL);
	assert_int_equal(add(&o, "[]", &e), -EINVAL);
	assert_int_equal(add(&o, "{\"annotations\":{\"a\":1}}", &e), -EINVAL);
	assert_non_null(strstr(e.text, "annotations"));
	assert_int_equal(add(&o, "{\"linux\":{\"namespaces\":[7]}}", &e), -EINVAL);
	assert_non_null(strstr(e.text, "linux.namespaces[0]"));
	assert_int_equal(
		add(&o, "{\"linux\":{\"namespaces\":[{\"type\":\"network\",\"path\":\"x\"}]}}", &e),
		-EINVAL);
}

static void files_are_mounts_of_the_pod(void **state)
{
	struct sandbox_options o;
	struct err e = ERR_INIT;
	REQUEST req = REQUEST_INIT;
	assert_int_equal(sandbox_options_read(&req, &o, &e), 0);
	assert_int_equal(sandbox_options_add_file(&o, "/etc/hostname", "/b/hostname"), 0);
	assert_int_equal(sandbox_options_add_file(&o, "/etc/resolv.conf", "/b/resolv.conf"), 0);
	assert_int_equal(o.spec->n_mounts, 2);
	assert_string_equal(o.spec->mounts[0].source, "/b/hostname");
	assert_string_equal(o.spec->mounts[1].destination, "/etc/resolv.conf");
	assert_string_equal(o.spec->mounts[1].options.v[0], "rbind");
	sandbox_options_deinit(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pod_of_kubernetes_is_read_whole),
		cmocka_unit_test(dns_has_the_form_of_the_file),
		cmocka_unit_test(words_that_would_be_something_else_are_refused),
		cmocka_unit_test(the_runtimes_own_options_name_the_configuration),
		cmocka_unit_test(a_spec_adds_what_the_request_did_not_tell),
		cmocka_unit_test(a_spec_that_is_wrong_is_refused_by_its_field),
		cmocka_unit_test(files_are_mounts_of_the_pod),
	};
	return RUN_TESTS();
}
