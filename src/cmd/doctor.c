/* hearth doctor: what this machine has, which kernels were picked, which optional parts are here, what is wrong and
 * how to mend it. */
#include "backend/backend.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/machine.h"
#include "cmd/options.h"
#include "kernels/kernels.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOW_MEMORY_BYTES ((uint64_t)2 << 30)
#define LOW_DISK_BYTES ((uint64_t)5 << 30)

struct doctor_options {
	bool json, slots;
};

static const struct hth_option options[] = {
	{"slots", NULL, NULL, HTH_OPTION_SWITCH, offsetof(struct doctor_options, slots), 0, 0, NULL, NULL, NULL,
	 "which kernel set fills each slot"},
	{"json", NULL, NULL, HTH_OPTION_SWITCH, offsetof(struct doctor_options, json), 0, 0, NULL, NULL, NULL,
	 "machine-readable result"},
	{0},
};

struct finding {
	const char *what, *mend;
};

/* What is wrong here; returns how many of found[] are filled. */
static int examine(const struct hth_machine_info *m, const struct hth_kernel_pick *pick, struct finding found[8])
{
	int n = 0;
	uint64_t disk = 0;
	if (m->usable_threads < m->cores)
		found[n++] = (struct finding){
			"this process may use fewer threads than the machine has",
			"a container's cpu quota or an affinity mask says so; raise it if it is yours"};
	if (m->available_bytes < LOW_MEMORY_BYTES)
		found[n++] =
			(struct finding){"less than 2 GB of memory are available",
					 "close other programs, or take a smaller model: hearth plan says what fits"};
	if (hth_disk_free(".", &disk, NULL) == HTH_OK && disk < LOW_DISK_BYTES)
		found[n++] = (struct finding){"less than 5 GB of disk are free here",
					      "checkpoints and fused models need room; free some or run elsewhere"};
	if (strcmp(pick->name, "ref") == 0)
		found[n++] = (struct finding){"no fast kernels for this processor: the portable ones run",
					      "expected on processors before AVX2; unset HEARTH_CPU if it is set"};
	else if (getenv("HEARTH_CPU") != NULL)
		found[n++] = (struct finding){"HEARTH_CPU limits which kernels run", "unset it for full speed"};
	return n;
}

static void print_machine(const struct hth_machine_info *m)
{
	char total[32], available[32], l2[32], l3[32];
	printf("machine\n  processor   %s, %d cores, %d threads usable\n", m->cpu, m->cores, m->usable_threads);
	printf("  caches      L2 %s a core, L3 %s\n", hth_format_bytes(l2, m->l2_bytes),
	       hth_format_bytes(l3, m->l3_bytes));
	printf("  memory      %s, %s available%s\n", hth_format_bytes(total, m->total_bytes),
	       hth_format_bytes(available, m->available_bytes), m->unified_memory ? ", shared with the GPU" : "");
	printf("  system      %s\n", m->os);
}

static void print_kernels(const struct hth_kernel_pick *pick, bool slots)
{
	printf("kernels\n  in force    %s\n  known      ", pick->name);
	struct hth_kernel_info info;
	for (int i = 0; (info = hth_kernels_info(i)).name != NULL; i++)
		printf(" %s%s", info.name, info.present ? "" : " (not this processor)");
	printf("\n");
	if (!slots)
		return;
	for (int s = 0; s < HTH_KERNEL_SLOT_COUNT; s++)
		printf("  %-18s %s\n", hth_kernel_slot_name((enum hth_kernel_slot)s), pick->winner[s]);
	for (int q = 0; q < HTH_QUANT_COUNT; q++)
		printf("  %-6s unpack %-8s matvec %s\n", hth_quant_format((enum hth_quant)q)->name,
		       pick->unpack_winner[q], pick->matvec_winner[q]);
}

static void print_backends(void)
{
	static const char *const optional[] = {"mlx", "cuda"};
	printf("backends\n");
	const struct hth_backend *b;
	for (int i = 0; (b = hth_backend_at(i)) != NULL; i++)
		printf("  %-11s in this build\n", b->name);
	for (size_t i = 0; i < sizeof optional / sizeof *optional; i++)
		if (hth_backend_find(optional[i]) == NULL)
			printf("  %-11s not in this build\n", optional[i]);
}

static void print_json(const struct hth_machine_info *m, const struct hth_kernel_pick *pick,
		       const struct finding *found, int n)
{
	struct hth_buf out;
	hth_buf_init(&out, 1 << 20);
	(void)hth_buf_puts(&out, "{\"cpu\":");
	(void)hth_json_put_string(&out, m->cpu, strlen(m->cpu));
	(void)hth_buf_printf(
		&out,
		",\"cores\":%d,\"threads\":%d,\"memory_bytes\":%llu,\"available_bytes\":%llu,\"kernels\":\"%s\","
		"\"findings\":[",
		m->cores, m->usable_threads, (unsigned long long)m->total_bytes, (unsigned long long)m->available_bytes,
		pick->name);
	for (int i = 0; i < n; i++) {
		(void)hth_buf_puts(&out, i > 0 ? ",{\"what\":" : "{\"what\":");
		(void)hth_json_put_string(&out, found[i].what, strlen(found[i].what));
		(void)hth_buf_puts(&out, ",\"mend\":");
		(void)hth_json_put_string(&out, found[i].mend, strlen(found[i].mend));
		(void)hth_buf_putc(&out, '}');
	}
	(void)hth_buf_puts(&out, "]}\n");
	fputs(hth_buf_str(&out), stdout);
	hth_buf_clear(&out);
}

static enum hth_status run(struct hth_cli *cli, struct hth_err *err)
{
	const struct doctor_options *opt = cli->config;
	struct hth_machine_info m;
	struct hth_kernel_pick pick;
	struct finding found[8];
	hth_machine_info(&m);
	enum hth_status s = hth_kernels_pick(NULL, &pick, err);
	if (s != HTH_OK)
		return s;
	int n = examine(&m, &pick, found);
	if (opt->json) {
		print_json(&m, &pick, found, n);
		return HTH_OK;
	}
	print_machine(&m);
	print_kernels(&pick, opt->slots);
	print_backends();
	printf(n == 0 ? "nothing is wrong\n" : "to mend\n");
	for (int i = 0; i < n; i++)
		printf("  %s\n      %s\n", found[i].what, found[i].mend);
	return HTH_OK;
}

const struct hth_command hth_command_doctor = {
	.name = "doctor",
	.usage = "[--slots] [--json]",
	.summary = "what this machine has, what is wrong, how to mend it",
	.options = options,
	.config_bytes = sizeof(struct doctor_options),
	.min_args = 0,
	.max_args = 0,
	.run = run,
};
