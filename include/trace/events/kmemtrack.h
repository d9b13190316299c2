/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM kmemtrack

#if !defined(_TRACE_KMEMTRACK_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_KMEMTRACK_H

#include <linux/tracepoint.h>

/* A scan begins; @nr is the number of scans that were completed before. */
TRACE_EVENT(kmemtrack_scan_start,

	TP_PROTO(unsigned long nr),

	TP_ARGS(nr),

	TP_STRUCT__entry(
		__field(unsigned long, nr)
	),

	TP_fast_assign(
		__entry->nr = nr;
	),

	TP_printk("scans=%lu", __entry->nr)
);

/*
 * A scan has ended, with an error if @ret is not 0. @duration and @pause are in
 * nanoseconds.
 */
TRACE_EVENT(kmemtrack_scan_end,

	TP_PROTO(int ret, unsigned long leaks, unsigned long fresh,
		 u64 duration, u64 pause),

	TP_ARGS(ret, leaks, fresh, duration, pause),

	TP_STRUCT__entry(
		__field(int, ret)
		__field(unsigned long, leaks)
		__field(unsigned long, fresh)
		__field(u64, duration)
		__field(u64, pause)
	),

	TP_fast_assign(
		__entry->ret = ret;
		__entry->leaks = leaks;
		__entry->fresh = fresh;
		__entry->duration = duration;
		__entry->pause = pause;
	),

	TP_printk("ret=%d leaks=%lu new=%lu duration_ns=%llu pause_ns=%llu",
		  __entry->ret, __entry->leaks, __entry->fresh,
		  __entry->duration, __entry->pause)
);

/*
 * A leak that no scan has found before. @site and @caller are the innermost two
 * frames of its backtrace, 0 if there is none. @site_name and @caller_name are their
 * symbols, also if the code is gone.
 */
TRACE_EVENT(kmemtrack_leak,

	TP_PROTO(unsigned long addr, size_t size, unsigned long site,
		 const char *site_name, unsigned long caller,
		 const char *caller_name, const char *comm, pid_t pid,
		 bool indirect),

	TP_ARGS(addr, size, site, site_name, caller, caller_name, comm, pid,
		indirect),

	TP_STRUCT__entry(
		__field(unsigned long, addr)
		__field(size_t, size)
		__field(unsigned long, site)
		__string(site_name, site_name)
		__field(unsigned long, caller)
		__string(caller_name, caller_name)
		__array(char, comm, TASK_COMM_LEN)
		__field(pid_t, pid)
		__field(bool, indirect)
	),

	TP_fast_assign(
		__entry->addr = addr;
		__entry->size = size;
		__entry->site = site;
		/* __assign_str() does not take the same arguments everywhere. */
		strscpy(__get_str(site_name), site_name,
			__get_dynamic_array_len(site_name));
		__entry->caller = caller;
		strscpy(__get_str(caller_name), caller_name,
			__get_dynamic_array_len(caller_name));
		strscpy(__entry->comm, comm, TASK_COMM_LEN);
		__entry->pid = pid;
		__entry->indirect = indirect;
	),

	TP_printk("ptr=%p size=%zu site=%s caller=%s comm=%s pid=%d indirect=%d",
		  (void *)__entry->addr, __entry->size,
		  __get_str(site_name), __get_str(caller_name),
		  __entry->comm, __entry->pid, __entry->indirect)
);

#endif /* _TRACE_KMEMTRACK_H */

#include <trace/define_trace.h>
