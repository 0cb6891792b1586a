/* The machine on macOS: sysctl for what it is, Mach for what is in use. macOS has no affinity mask and no groups. */
#ifdef __APPLE__
#include "base/machine.h"
#include "base/machine_int.h"

#include <mach/mach.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysctl.h>
#include <sys/types.h>

/* An integer of 4 or 8 bytes, or 0. */
static uint64_t sysctl_u64(const char *name)
{
	union {
		uint64_t u64;
		uint32_t u32;
	} v = {0};
	size_t bytes = sizeof v;

	if (sysctlbyname(name, &v, &bytes, NULL, 0) != 0)
		return 0;
	return bytes == sizeof v.u32 ? v.u32 : v.u64;
}

static void sysctl_text(const char *name, char *out, size_t out_bytes)
{
	size_t bytes = out_bytes - 1;

	memset(out, 0, out_bytes);
	if (sysctlbyname(name, out, &bytes, NULL, 0) != 0)
		out[0] = '\0';
}

/* Of the performance cores where there are two kinds, else of any. */
static uint64_t cache_bytes(const char *level)
{
	char name[64];

	snprintf(name, sizeof name, "hw.perflevel0.%scachesize", level);
	uint64_t bytes = sysctl_u64(name);
	if (bytes == 0) {
		snprintf(name, sizeof name, "hw.%scachesize", level);
		bytes = sysctl_u64(name);
	}
	return bytes;
}

static int logical_cores(void)
{
	uint64_t n = sysctl_u64("hw.activecpu");

	if (n == 0)
		n = sysctl_u64("hw.logicalcpu");
	return n < 1 ? 1 : n > 1024 ? 1024 : (int)n;
}

int hth_machine_threads(void)
{
	return logical_cores();
}

/* Free pages and those that the system gives up without writing: inactive ones. */
static uint64_t available_now(void)
{
	vm_statistics64_data_t vm;
	mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
	mach_port_t host = mach_host_self();
	kern_return_t rc = host_statistics64(host, HOST_VM_INFO64, (host_info64_t)&vm, &count);

	mach_port_deallocate(mach_task_self(), host);
	if (rc != KERN_SUCCESS)
		return 0;
	return ((uint64_t)vm.free_count + vm.inactive_count) * (uint64_t)vm_kernel_page_size;
}

void hth_machine_info(struct hth_machine_info *out)
{
	char version[64];

	memset(out, 0, sizeof *out);
	sysctl_text("machdep.cpu.brand_string", out->cpu, sizeof out->cpu);
	sysctl_text("kern.osproductversion", version, sizeof version);
	snprintf(out->os, sizeof out->os, "macOS %s", version);
	out->cores = logical_cores();
	out->usable_threads = out->cores;
	out->total_bytes = sysctl_u64("hw.memsize");
	out->available_bytes = available_now();
	out->l1d_bytes = cache_bytes("l1d");
	out->l2_bytes = cache_bytes("l2");
	out->l3_bytes = cache_bytes("l3");
	out->unified_memory = sysctl_u64("hw.optional.arm64") != 0;
}

void hth_mem_sample(struct hth_mem_use *out)
{
	task_vm_info_data_t vm;
	mach_msg_type_number_t count = TASK_VM_INFO_COUNT;

	memset(out, 0, sizeof *out);
	memset(&vm, 0, sizeof vm);
	if (task_info(mach_task_self(), TASK_VM_INFO, (task_info_t)&vm, &count) != KERN_SUCCESS)
		return;
	out->anon_bytes = (uint64_t)vm.phys_footprint;
	out->mapped_bytes = (uint64_t)vm.external;
	out->anon_peak_bytes = hth_mem_peak(out->anon_bytes);
}
#else
typedef int hth_machine_macos_unused;
#endif
