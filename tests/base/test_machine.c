#include "base/machine.h"
#include "base/machine_int.h"
#include "tempdir.h"

#include <math.h>
#include <time.h>

static void the_machine_is_described_plausibly(void **state)
{
	struct hth_machine_info m;
	(void)state;
	hth_machine_info(&m);
	assert_true(strlen(m.cpu) > 2);
	assert_true(strncmp(m.os, "Linux ", 6) == 0 || strncmp(m.os, "macOS ", 6) == 0);
	assert_in_range(m.cores, 1, 8192);
	assert_in_range(m.usable_threads, 1, m.cores);
	assert_int_equal(m.usable_threads, hth_machine_threads());
	assert_true(m.total_bytes > (uint64_t)64 << 20);
	assert_true(m.available_bytes > 0 && m.available_bytes <= m.total_bytes);
	assert_true(m.l1d_bytes == 0 || (m.l1d_bytes >= 4096 && m.l1d_bytes <= 1 << 20));
}

static void the_clock_runs_forward_in_seconds(void **state)
{
	(void)state;
	double a = hth_now_s();
	nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	double d = hth_now_s() - a;
	assert_true(d >= 0.0199 && d < 5);
}

static void memory_in_use_rises_and_the_peak_stays(void **state)
{
	struct hth_mem_use before, with, after;
	size_t bytes = (size_t)64 << 20;
	(void)state;
	hth_mem_sample(&before);
	assert_true(before.anon_bytes > 0 && before.mapped_bytes > 0);
	char *p = hth_alloc(bytes);
	memset(p, 1, bytes);
	hth_mem_sample(&with);
	assert_true(with.anon_bytes > before.anon_bytes + bytes * 9 / 10);
	hth_free(p);
	hth_mem_sample(&after);
	assert_true(after.anon_peak_bytes >= with.anon_bytes);
}

static void a_sample_allocates_nothing(void **state)
{
	struct hth_mem_use use;
	(void)state;
	uint64_t before = hth_mem_allocs();
	hth_mem_sample(&use);
	assert_int_equal(hth_mem_allocs(), before);
}

static void the_peak_is_the_highest_ever_told(void **state)
{
	(void)state;
	uint64_t high = (uint64_t)1 << 60;
	assert_int_equal(hth_mem_peak(high), high);
	assert_int_equal(hth_mem_peak(5), high);
}

#ifdef __linux__
/* Writes text to temp_dir/path, folders made. */
static void fake(const char *path, const char *text)
{
	char dir[512];
	snprintf(dir, sizeof dir, "%.*s", (int)(hth_path_base(path) - path), path);
	assert_int_equal(hth_mkdirs(temp(dir), NULL), HTH_OK);
	assert_int_equal(hth_file_write(temp(path), text, strlen(text), NULL), HTH_OK);
}

static struct hth_cgroup limits(void)
{
	struct hth_cgroup cg;
	hth_cgroup_read(temp_dir, &cg);
	return cg;
}

static void without_groups_there_is_no_limit(void **state)
{
	(void)state;
	struct hth_cgroup cg = limits();
	assert_true(cg.memory_bytes == UINT64_MAX && cg.memory_free_bytes == UINT64_MAX && cg.cpus == 0);
}

static void version_2_takes_the_tightest_group_on_the_way_up(void **state)
{
	(void)state;
	fake("proc/self/cgroup", "0::/a/b\n");
	fake("sys/fs/cgroup/a/b/memory.max", "max\n");
	fake("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
	fake("sys/fs/cgroup/a/memory.max", "1000000\n");
	fake("sys/fs/cgroup/a/memory.current", "600000\n");
	fake("sys/fs/cgroup/a/memory.stat", "anon 5\nfile 7\ninactive_file 100000\n");
	fake("sys/fs/cgroup/a/cpu.max", "150000 100000\n");
	fake("sys/fs/cgroup/memory.max", "2000000\n");
	fake("sys/fs/cgroup/memory.current", "1900000\n");
	fake("sys/fs/cgroup/cpu.max", "400000 100000\n");
	struct hth_cgroup cg = limits();
	assert_int_equal(cg.memory_bytes, 1000000);
	assert_int_equal(cg.memory_free_bytes, 100000); /* the root's: 2000000 - 1900000, tighter than 500000 */
	assert_true(cg.cpus == 1.5);
}

static void version_2_in_a_container_reads_the_root(void **state)
{
	(void)state;
	fake("proc/self/cgroup", "0::/\n");
	fake("sys/fs/cgroup/memory.max", "500\n");
	fake("sys/fs/cgroup/memory.current", "700\n");
	assert_int_equal(limits().memory_bytes, 500);
	assert_int_equal(limits().memory_free_bytes, 0);
	/* A path from outside of the namespace. */
	fake("proc/self/cgroup", "0::/../../other\n");
	assert_int_equal(limits().memory_bytes, 500);
}

static void version_1_finds_its_controllers_by_name(void **state)
{
	(void)state;
	fake("proc/self/cgroup", "12:cpuset:/x\n4:cpu,cpuacct:/docker/1\n3:memory:/docker/1\n0::/ignored\n");
	/* The host's path is not mounted inside: only the roots are there. */
	fake("sys/fs/cgroup/memory/memory.limit_in_bytes", "8000000\n");
	fake("sys/fs/cgroup/memory/memory.usage_in_bytes", "5000000\n");
	fake("sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 2000000\n");
	fake("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "50000\n");
	fake("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
	struct hth_cgroup cg = limits();
	assert_int_equal(cg.memory_bytes, 8000000);
	assert_int_equal(cg.memory_free_bytes, 5000000);
	assert_true(cg.cpus == 0.5);
}

static void version_1_says_no_limit_in_two_ways(void **state)
{
	(void)state;
	fake("proc/self/cgroup", "4:cpu:/\n3:memory:/\n");
	fake("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
	fake("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
	fake("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
	struct hth_cgroup cg = limits();
	assert_true(cg.memory_bytes == UINT64_MAX && cg.cpus == 0);
}

static void nonsense_in_these_files_is_no_limit(void **state)
{
	(void)state;
	fake("proc/self/cgroup", "garbage\n:\n::\n0::\n0::relative\n\n5:memory\n3:mem,memoryx,cpux:/\n0::/a/");
	fake("sys/fs/cgroup/memory.max", "lots\n");
	fake("sys/fs/cgroup/cpu.max", "0 0\n");
	struct hth_cgroup cg = limits();
	assert_true(cg.memory_bytes == UINT64_MAX && cg.cpus == 0);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_machine_is_described_plausibly),
		cmocka_unit_test(the_clock_runs_forward_in_seconds),
		cmocka_unit_test(memory_in_use_rises_and_the_peak_stays),
		cmocka_unit_test(a_sample_allocates_nothing),
		cmocka_unit_test(the_peak_is_the_highest_ever_told),
#ifdef __linux__
		temp_test(without_groups_there_is_no_limit),
		temp_test(version_2_takes_the_tightest_group_on_the_way_up),
		temp_test(version_2_in_a_container_reads_the_root),
		temp_test(version_1_finds_its_controllers_by_name),
		temp_test(version_1_says_no_limit_in_two_ways),
		temp_test(nonsense_in_these_files_is_no_limit),
#endif
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
