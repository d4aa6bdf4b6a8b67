/* SPDX-License-Identifier: Apache-2.0 */
/* What happens to a task, as containerd's event messages. */
#include "service/task.h"

#include "proto/events.pb-c.h"

#define EV(name) Containerd__Events__##name

static void publish(struct task_service *s, const char *topic, const ProtobufCMessage *m)
{
	events_publish(s->events, topic, m);
}

static void publish_create(struct task_service *s, const struct task_state *t,
			   const struct task_create *c)
{
	EV(TaskCreate) m = CONTAINERD__EVENTS__TASK_CREATE__INIT;
	EV(TaskIO) io = CONTAINERD__EVENTS__TASK_IO__INIT;
	_cleanup_free_ Containerd__Types__Mount *mounts = calloc(c->n_rootfs + 1, sizeof *mounts);
	_cleanup_free_ Containerd__Types__Mount **list = calloc(c->n_rootfs + 1, sizeof *list);

	m.container_id = (char *)t->id;
	m.bundle = (char *)t->bundle;
	m.pid = (uint32_t)t->pid;
	io.stdin = (char *)t->stdio.in;
	io.stdout = (char *)t->stdio.out;
	io.stderr = (char *)t->stdio.errout;
	io.terminal = t->stdio.terminal;
	m.io = &io;
	for (size_t i = 0; mounts && list && i < c->n_rootfs; i++) {
		mounts[i] = (Containerd__Types__Mount)CONTAINERD__TYPES__MOUNT__INIT;
		mounts[i].type = (char *)c->rootfs[i].type;
		mounts[i].source = (char *)c->rootfs[i].source;
		mounts[i].target = (char *)c->rootfs[i].target;
		mounts[i].options = (char **)c->rootfs[i].options;
		mounts[i].n_options = c->rootfs[i].n_options;
		list[i] = &mounts[i];
		m.n_rootfs = i + 1;
	}
	m.rootfs = list;
	publish(s, "/tasks/create", &m.base);
}

static void publish_exit(struct task_service *s, const struct task_state *t)
{
	EV(TaskExit) m = CONTAINERD__EVENTS__TASK_EXIT__INIT;
	Google__Protobuf__Timestamp at = GOOGLE__PROTOBUF__TIMESTAMP__INIT;

	at.seconds = t->exited_at.tv_sec;
	at.nanos = (int32_t)t->exited_at.tv_nsec;
	m.container_id = (char *)t->id;
	m.id = (char *)(t->exec_id[0] ? t->exec_id : t->id);
	m.pid = (uint32_t)t->pid;
	m.exit_status = t->exit_status;
	m.exited_at = &at;
	publish(s, "/tasks/exit", &m.base);
}

static void publish_delete(struct task_service *s, const struct task_state *t)
{
	EV(TaskDelete) m = CONTAINERD__EVENTS__TASK_DELETE__INIT;
	Google__Protobuf__Timestamp at = GOOGLE__PROTOBUF__TIMESTAMP__INIT;

	at.seconds = t->exited_at.tv_sec;
	at.nanos = (int32_t)t->exited_at.tv_nsec;
	m.container_id = (char *)t->id;
	m.id = (char *)t->exec_id;
	m.pid = (uint32_t)t->pid;
	m.exit_status = t->exit_status;
	m.exited_at = &at;
	publish(s, "/tasks/delete", &m.base);
}

void task_service_on_event(void *arg, enum task_event_type type, const struct task_state *t,
			   const struct task_create *create)
{
	struct task_service *s = arg;
	EV(TaskStart) start = CONTAINERD__EVENTS__TASK_START__INIT;
	EV(TaskExecAdded) added = CONTAINERD__EVENTS__TASK_EXEC_ADDED__INIT;
	EV(TaskExecStarted) started = CONTAINERD__EVENTS__TASK_EXEC_STARTED__INIT;
	EV(TaskPaused) paused = CONTAINERD__EVENTS__TASK_PAUSED__INIT;
	EV(TaskOOM) oom = CONTAINERD__EVENTS__TASK_OOM__INIT;
	EV(TaskResumed) resumed = CONTAINERD__EVENTS__TASK_RESUMED__INIT;

	switch (type) {
	case TASK_EVENT_CREATE:
		publish_create(s, t, create);
		break;
	case TASK_EVENT_START:
		start.container_id = (char *)t->id;
		start.pid = (uint32_t)t->pid;
		publish(s, "/tasks/start", &start.base);
		break;
	case TASK_EVENT_EXEC_ADDED:
		added.container_id = (char *)t->id;
		added.exec_id = (char *)t->exec_id;
		publish(s, "/tasks/exec-added", &added.base);
		break;
	case TASK_EVENT_EXEC_STARTED:
		started.container_id = (char *)t->id;
		started.exec_id = (char *)t->exec_id;
		started.pid = (uint32_t)t->pid;
		publish(s, "/tasks/exec-started", &started.base);
		break;
	case TASK_EVENT_EXIT:
		publish_exit(s, t);
		break;
	case TASK_EVENT_DELETE:
		publish_delete(s, t);
		break;
	case TASK_EVENT_PAUSED:
		paused.container_id = (char *)t->id;
		publish(s, "/tasks/paused", &paused.base);
		break;
	case TASK_EVENT_OOM:
		oom.container_id = (char *)t->id;
		publish(s, "/tasks/oom", &oom.base);
		break;
	case TASK_EVENT_RESUMED:
		resumed.container_id = (char *)t->id;
		publish(s, "/tasks/resumed", &resumed.base);
		break;
	}
}
