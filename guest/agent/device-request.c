/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/agent/device-request.h"

#include "base/fd.h"
#include "guest/agent/layer.h"
#include "guest/agent/uevent.h"
#include "oci/arena.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define INFINIBAND_MAX 256

/* What a spec's device becomes. */
struct update {
	struct oci_device *device; /* of the spec */
	struct oci_device old;
	char type;
	dev_t rdev;
};

static bool is_vfio(const Grpc__Device *m)
{
	return strcmp(m->type, "vfio-pci") == 0 || strcmp(m->type, "vfio-pci-gk") == 0;
}

/* The guest's own driver keeps it: nothing of the spec is to be changed. */
static bool keeps_driver(const Grpc__Device *m)
{
	return strcmp(m->type, "vfio-pci-gk") == 0;
}

static int check(const Grpc__Device *m, struct err *e)
{
	if (!*m->type || !*m->container_path || (!*m->id && !*m->vm_path))
		return err_set(e, -EINVAL,
			       "device \"%.80s\": its type (\"%.40s\"), its path in the container "
			       "(\"%.80s\") or what it is, is missing",
			       *m->id ? m->id : m->vm_path, m->type, m->container_path);
	if (!is_vfio(m) && !devices_is_block_driver(m->type))
		return err_status(e, STATUS_UNIMPLEMENTED,
				  "device %.80s: this agent knows no devices of type %.40s",
				  m->container_path, m->type);
	if (m->n_options > DEVICE_OPTIONS_MAX)
		return err_set(e, -E2BIG, "device %.80s: %zu options are more than %d",
			       m->container_path, m->n_options, DEVICE_OPTIONS_MAX);
	if (strcmp(m->type, "vfio-pci") == 0 && m->n_options == 0)
		return err_set(e, -EINVAL, "device %.80s of type %s: it names no PCI device",
			       m->container_path, m->type);
	return 0;
}

/* Of virtio, what has an identity on a bus; of the others, their place in /dev. */
static const char *block_source(const Grpc__Device *m)
{
	bool by_id = strcmp(m->type, "blk") == 0 || strcmp(m->type, "scsi") == 0;
	if (by_id)
		return *m->id ? m->id : m->vm_path;
	return *m->vm_path ? m->vm_path : m->id;
}

/* "HOST=PATH": the host's address, and the guest's PCI path, which is empty where it is not known.
 */
static int split_option(const char *option, char ret_host[PCI_ADDRESS_MAX], const char **ret_path,
			struct err *e)
{
	char host[2 * PCI_ADDRESS_MAX];
	const char *equals = strchr(option, '=');

	if (!equals || (size_t)(equals - option) >= sizeof host)
		return err_set(e, -EINVAL, "device option \"%.80s\": not HOST-ADDRESS=PCI-PATH",
			       option);
	(void)snprintf(host, sizeof host, "%.*s", (int)(equals - option), option);
	if (pci_address_parse(host, ret_host) < 0)
		return err_set(e, -EINVAL, "device option \"%.80s\": %s is no PCI address", option,
			       host);
	*ret_path = equals + 1;
	return 0;
}

/* All functions of a vfio device must be in one group: that is what the container opens. */
static int look_vfio_option(struct devices *d, const Grpc__Device *m, const char *dir,
			    struct device_block *group, struct err *e)
{
	struct device_block found;

	int r = devices_vfio_bind(d, dir, &found, e);
	if (r < 0)
		return r;
	if (group->path[0] && strcmp(group->path, found.path) != 0)
		return err_set(e, -EINVAL, "device %.80s is in two IOMMU groups: %s and %s",
			       m->container_path, group->path, found.path);
	*group = found;
	return 0;
}

/* Finds what a vfio device is made of; @map (may be NULL) gets the addresses. */
static int look_vfio(struct devices *d, const Grpc__Device *m, struct device_block *ret,
		     struct pci_map *map, struct err *e)
{
	char host[PCI_ADDRESS_MAX], dir[PCI_DIR_MAX];
	const char *path = "";
	int r = 0;

	ret->path[0] = '\0';
	for (size_t i = 0; r == 0 && i < m->n_options; i++) {
		r = split_option(m->options[i], host, &path, e);
		if (r == 0 && !*path && keeps_driver(m))
			continue;
		if (r == 0)
			r = devices_look_pci(d, path, dir, e);
		if (r == 0 && !keeps_driver(m))
			r = look_vfio_option(d, m, dir, ret, e);
		if (r == 0 && map)
			r = pci_map_add(map, host, pci_dir_address(dir), e);
	}
	return r < 0 ? err_wrap(e, r, "device %.80s", m->container_path) : 0;
}

/* ---- Waiting ------------------------------------------------------------------------------ */

bool device_request_waits(const struct device_request *q)
{
	for (size_t i = 0; i < q->n_storages; i++)
		if (devices_is_block_driver(layer_device_driver(q->storages[i])))
			return true;
	return q->n_devices > 0;
}

unsigned device_request_kinds(void)
{
	return UEVENT_BLOCK | UEVENT_SCSI | UEVENT_PCI | UEVENT_VFIO | UEVENT_NVDIMM;
}

int device_request_look(struct devices *d, const struct device_request *q, struct err *e)
{
	struct device_block found;
	int r = 0;

	if (q->n_devices > DEVICES_PER_REQUEST_MAX || q->n_storages > DEVICES_PER_REQUEST_MAX)
		return err_set(e, -E2BIG, "%zu devices and %zu storages: more than %d",
			       q->n_devices, q->n_storages, DEVICES_PER_REQUEST_MAX);
	for (size_t i = 0; r == 0 && i < q->n_devices; i++)
		r = check(q->devices[i], e);
	for (size_t i = 0; r == 0 && i < q->n_devices; i++) {
		const Grpc__Device *m = q->devices[i];
		r = is_vfio(m) ? look_vfio(d, m, &found, NULL, e)
			       : devices_look_block(d, m->type, block_source(m), &found, e);
	}
	for (size_t i = 0; r == 0 && i < q->n_storages; i++) {
		const Grpc__Storage *s = q->storages[i];
		const char *driver = layer_device_driver(s);
		if (devices_is_block_driver(driver))
			r = devices_look_block(d, driver, s->source, &found, e);
	}
	return r;
}

/* ---- The spec ----------------------------------------------------------------------------- */

static struct oci_device *spec_device(struct oci_spec *s, const char *path)
{
	for (size_t i = 0; i < s->n_devices; i++)
		if (strcmp(s->devices[i].path, path) == 0)
			return &s->devices[i];
	return NULL;
}

int device_spec_allow(struct oci_spec *s, char type, int64_t major, int64_t minor,
		      const char *access, struct err *e)
{
	struct oci_resources *res = &s->resources;
	struct oci_device_rule *v = oci_arena_array(s->arena, res->n_devices + 1, sizeof *v);
	char *copy = v ? oci_arena_strdup(s->arena, access) : NULL;

	if (!copy)
		return err_set(e, -ENOMEM, "no memory for a rule about devices");
	if (res->n_devices)
		memcpy(v, res->devices, res->n_devices * sizeof *v);
	v[res->n_devices] = (struct oci_device_rule){
		.allow = true, .type = type, .major = major, .minor = minor, .access = copy};
	res->devices = v;
	res->n_devices++;
	return 0;
}

int device_spec_add(struct oci_spec *s, const struct oci_device *device, const char *access,
		    struct err *e)
{
	struct oci_device *to = spec_device(s, device->path);
	char *path = oci_arena_strdup(s->arena, device->path);

	if (path && !to) {
		struct oci_device *v = oci_arena_array(s->arena, s->n_devices + 1, sizeof *v);
		if (v && s->n_devices)
			memcpy(v, s->devices, s->n_devices * sizeof *v);
		if (v) {
			s->devices = v;
			to = &v[s->n_devices++];
		}
	}
	if (!path || !to)
		return err_set(e, -ENOMEM, "no memory for device %s", device->path);
	*to = *device;
	to->path = path;
	if (device->type == 'p')
		return 0;
	return device_spec_allow(s, device->type == 'b' ? 'b' : 'c', device->major, device->minor,
				 access, e);
}

static int find_update(struct devices *d, const Grpc__Device *m, struct oci_spec *s,
		       struct pci_map *map, struct update *u, struct err *e)
{
	struct device_block found;

	int r = is_vfio(m) ? look_vfio(d, m, &found, map, e)
			   : devices_find_block(d, m->type, block_source(m), &found, e);
	if (r < 0)
		return r;
	u->device = spec_device(s, m->container_path);
	if (!u->device)
		return keeps_driver(m)
			       ? 0
			       : err_set(e, -EINVAL, "device %.80s is not in the container's spec",
					 m->container_path);
	if (keeps_driver(m)) {
		u->device = NULL;
		return 0;
	}
	u->old = *u->device;
	u->type = is_vfio(m) ? 'c' : 'b';
	u->rdev = found.rdev;
	return 0;
}

static bool same_number(const struct update *u, char type, int64_t major, int64_t minor)
{
	return u->device && (u->old.type == 'u' ? 'c' : u->old.type) == type &&
	       u->old.major == major && u->old.minor == minor;
}

/* One device of the host cannot be two of the guest, by one rule. */
static int check_conflicts(const struct update *v, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; v[i].device && k < i; k++) {
			if (!v[k].device)
				continue;
			if (v[i].device == v[k].device)
				return err_set(e, -EINVAL, "device %s is asked for twice",
					       v[i].device->path);
			if (same_number(&v[k], v[i].old.type, v[i].old.major, v[i].old.minor) &&
			    v[i].rdev != v[k].rdev)
				return err_set(
					e, -EINVAL,
					"devices %s and %s are one on the host, and two here",
					v[k].device->path, v[i].device->path);
		}
	}
	return 0;
}

static int apply_updates(struct oci_spec *s, const struct update *v, size_t n, struct err *e)
{
	bool ruled[DEVICES_PER_REQUEST_MAX] = {false};
	int r = 0;

	for (size_t i = 0; i < s->resources.n_devices; i++) {
		struct oci_device_rule *rule = &s->resources.devices[i];
		const struct oci_device_rule old = *rule;
		for (size_t k = 0; k < n; k++) {
			if (!same_number(&v[k], old.type, old.major, old.minor))
				continue;
			rule->type = v[k].type;
			rule->major = major(v[k].rdev);
			rule->minor = minor(v[k].rdev);
			ruled[k] = true;
		}
	}
	for (size_t k = 0; r == 0 && k < n; k++) {
		if (!v[k].device)
			continue;
		v[k].device->type = v[k].type;
		v[k].device->major = major(v[k].rdev);
		v[k].device->minor = minor(v[k].rdev);
		if (!ruled[k])
			r = device_spec_allow(s, v[k].type, major(v[k].rdev), minor(v[k].rdev),
					      "rwm", e);
	}
	return r;
}

/* What the libraries of such cards open beside the device itself. */
static int add_infiniband(const struct devices *d, struct oci_spec *s, struct err *e)
{
	char path[PATH_MAX];
	struct stat st;
	int r = 0;

	if (path_format(path, sizeof path, "%s/infiniband", devices_dev(d)) < 0)
		return 0;
	DIR *dir = opendir(path);
	if (!dir)
		return 0;
	for (struct dirent *de; r == 0 && (de = readdir(dir));) {
		if (de->d_name[0] == '.' || fstatat(dirfd(dir), de->d_name, &st, 0) < 0 ||
		    !S_ISCHR(st.st_mode) || s->n_devices >= OCI_DEVICES_MAX + INFINIBAND_MAX)
			continue;
		(void)snprintf(path, sizeof path, "/dev/infiniband/%s", de->d_name);
		const struct oci_device device = {.path = path,
						  .type = 'c',
						  .major = major(st.st_rdev),
						  .minor = minor(st.st_rdev),
						  .has_mode = true,
						  .mode = st.st_mode & 0777};
		if (!spec_device(s, path))
			r = device_spec_add(s, &device, "rwm", e);
	}
	(void)closedir(dir);
	return r;
}

static int apply_vfio(struct devices *d, struct oci_spec *s, const struct pci_map *map,
		      struct err *e)
{
	int r = add_infiniband(d, s, e);
	return r < 0 ? r : pci_map_environment(map, s->arena, &s->process.env, e);
}

int device_request_apply(struct devices *d, const struct device_request *q, struct oci_spec *s,
			 struct pci_map **ret_map, struct err *e)
{
	_cleanup_free_ struct update *v = calloc(q->n_devices + 1, sizeof *v);
	_cleanup_(pci_map_free_p) struct pci_map *map = NULL;
	bool any_vfio = false;
	int r = 0;

	*ret_map = NULL;
	if (q->n_devices == 0)
		return 0;
	if (q->n_devices > DEVICES_PER_REQUEST_MAX)
		return err_set(e, -E2BIG, "%zu devices: more than %d", q->n_devices,
			       DEVICES_PER_REQUEST_MAX);
	for (size_t i = 0; i < q->n_devices; i++)
		any_vfio |= is_vfio(q->devices[i]);
	map = any_vfio ? pci_map_new() : NULL;
	if (!v || (any_vfio && !map))
		return err_set(e, -ENOMEM, "no memory for %zu devices", q->n_devices);
	for (size_t i = 0; r == 0 && i < q->n_devices; i++) {
		r = check(q->devices[i], e);
		if (r == 0)
			r = find_update(d, q->devices[i], s, map, &v[i], e);
	}
	if (r == 0)
		r = check_conflicts(v, q->n_devices, e);
	if (r == 0)
		r = apply_updates(s, v, q->n_devices, e);
	if (r == 0 && any_vfio)
		r = apply_vfio(d, s, map, e);
	if (r == 0)
		*ret_map = TAKE_PTR(map);
	return r == -EAGAIN ? -ENODEV : r;
}
