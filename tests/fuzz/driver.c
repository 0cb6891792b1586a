/* Drives a fuzz target where libFuzzer is not there (gcc): deterministic mutations of the seeds, with a crash when one
 * input takes too long. Leaves out coverage guidance. The input in work is kept in a file that survives a crash.
 *
 * usage: target SECONDS MAX_BYTES CRASH_FILE SEED_FILE_OR_FOLDER... */
#include "fuzz.h"

#include <dirent.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#define MAX_SEEDS 4096
#define INPUT_SECONDS 5

int LLVMFuzzerInitialize(int *argc, char ***argv);
__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

struct seed {
	uint8_t *data;
	size_t bytes;
};

struct pool {
	struct seed seeds[MAX_SEEDS];
	size_t n, max_bytes;
	uint64_t rng;
};

static uint64_t next(struct pool *p, uint64_t below)
{
	p->rng ^= p->rng << 13;
	p->rng ^= p->rng >> 7;
	p->rng ^= p->rng << 17;
	return below > 0 ? p->rng % below : 0;
}

static void add_file(struct pool *p, const char *path)
{
	FILE *in = fopen(path, "rb");
	if (in == NULL || p->n == MAX_SEEDS) {
		if (in != NULL)
			fclose(in);
		return;
	}
	uint8_t *data = malloc(p->max_bytes + 1);
	fuzz_check(data != NULL);
	size_t bytes = fread(data, 1, p->max_bytes, in);
	fclose(in);
	p->seeds[p->n++] = (struct seed){data, bytes};
}

static void add_path(struct pool *p, const char *path)
{
	DIR *dir = opendir(path);
	if (dir == NULL) {
		add_file(p, path);
		return;
	}
	for (struct dirent *e; (e = readdir(dir)) != NULL;) {
		char file[4096];
		if (e->d_name[0] == '.' || snprintf(file, sizeof file, "%s/%s", path, e->d_name) >= (int)sizeof file)
			continue;
		add_file(p, file);
	}
	closedir(dir);
}

/* Numbers at which sizes go wrong. */
static const uint64_t edges[] = {0,          1,           2,          0x7F,       0x80,           0xFF,      0x7FFF,
				 0xFFFF,     0x10000,     0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,     1ull << 32, 1ull << 48,
				 1ull << 61, 1ull << 62,  INT64_MAX,  1ull << 63, UINT64_MAX - 7, UINT64_MAX};

static size_t mutate_once(struct pool *p, uint8_t *data, size_t bytes)
{
	size_t at = next(p, bytes + 1);
	switch (next(p, 7)) {
	case 0: /* a bit */
		if (at < bytes)
			data[at] ^= (uint8_t)(1u << next(p, 8));
		return bytes;
	case 1: /* a byte */
		if (at < bytes)
			data[at] = (uint8_t)next(p, 256);
		return bytes;
	case 2: /* an edge number of 1, 2, 4 or 8 bytes */
		for (size_t i = 0, n = (size_t)1 << next(p, 4), v = next(p, sizeof edges / sizeof *edges); i < n; i++)
			if (at + i < bytes)
				data[at + i] = (uint8_t)(edges[v] >> 8 * i);
		return bytes;
	case 3: /* the end is cut */
		return at;
	case 4: { /* some bytes are taken out */
		size_t n = next(p, bytes - at < 64 ? bytes - at + 1 : 64);
		memmove(data + at, data + at + n, bytes - at - n);
		return bytes - n;
	}
	case 5: { /* a piece of another seed is put in its place */
		const struct seed *s = &p->seeds[next(p, p->n)];
		size_t from = next(p, s->bytes + 1), n = next(p, s->bytes - from + 1);
		n = at + n > p->max_bytes ? p->max_bytes - at : n;
		memcpy(data + at, s->data + from, n);
		return at + n > bytes ? at + n : bytes;
	}
	default: { /* a piece is doubled */
		size_t n = next(p, bytes - at < 256 ? bytes - at + 1 : 256);
		n = bytes + n > p->max_bytes ? p->max_bytes - bytes : n;
		memmove(data + at + n, data + at, bytes - at);
		return bytes + n;
	}
	}
}

static void on_alarm(int sig)
{
	(void)sig;
	static const char text[] = "driver: an input took more than 5 s\n";
	if (write(2, text, sizeof text - 1) > 0)
		abort();
	abort();
}

static uint8_t *crash_file(const char *path, size_t bytes)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_RDWR, 0600);
	fuzz_check(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
	void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	fuzz_check(map != MAP_FAILED);
	close(fd);
	return map;
}

/* Runs a copy of exact size, so that a read past the end is found. */
static void run(const uint8_t *data, size_t bytes, uint8_t *kept)
{
	uint8_t *copy = malloc(bytes > 0 ? bytes : 1);
	fuzz_check(copy != NULL);
	if (bytes > 0)
		memcpy(copy, data, bytes);
	uint64_t n = bytes;
	memcpy(kept, &n, sizeof n);
	if (bytes > 0)
		memcpy(kept + sizeof n, data, bytes);
	alarm(INPUT_SECONDS);
	LLVMFuzzerTestOneInput(copy, bytes);
	alarm(0);
	free(copy);
}

int main(int argc, char **argv)
{
	static struct pool p;
	if (argc < 5) {
		fprintf(stderr, "usage: %s SECONDS MAX_BYTES CRASH_FILE SEED...\n", argv[0]);
		return 2;
	}
	double seconds = strtod(argv[1], NULL);
	p.max_bytes = (size_t)strtoull(argv[2], NULL, 10);
	p.rng = 0x9E3779B97F4A7C15u;
	for (int i = 4; i < argc; i++)
		add_path(&p, argv[i]);
	if (p.n == 0)
		p.seeds[p.n++] = (struct seed){calloc(1, 1), 0};
	uint8_t *kept = crash_file(argv[3], p.max_bytes + 8), *work = malloc(p.max_bytes + 1);
	fuzz_check(work != NULL);
	signal(SIGALRM, on_alarm);
	LLVMFuzzerInitialize(&argc, &argv);
	unsigned long long runs = 0;
	for (size_t i = 0; i < p.n; i++, runs++)
		run(p.seeds[i].data, p.seeds[i].bytes, kept);
	for (time_t start = time(NULL); difftime(time(NULL), start) < seconds; runs++) {
		const struct seed *s = &p.seeds[next(&p, p.n)];
		size_t bytes = s->bytes;
		if (bytes > 0)
			memcpy(work, s->data, bytes);
		for (uint64_t i = 1 + next(&p, 8); i > 0; i--)
			bytes = mutate_once(&p, work, bytes);
		run(work, bytes, kept);
	}
	for (size_t i = 0; i < p.n; i++)
		free(p.seeds[i].data);
	free(work);
	munmap(kept, p.max_bytes + 8);
	remove(argv[3]);
	printf("stat::number_of_executed_units: %llu\n", runs);
	return 0;
}
