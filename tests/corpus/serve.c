/* Runs a command while a model hub on loopback answers every listing with one file's bytes; HF_ENDPOINT names it.
 *
 * usage: serve_listing FILE COMMAND...     ends as the command did */
#include "../hub/server.h"

#include "base/file.h"

#include <sys/wait.h>

int main(int argc, char **argv)
{
	static struct server s;
	struct hth_err err;
	char *tree, url[64];
	size_t bytes;
	int status = 1;

	if (argc < 3)
		return 2;
	assert_ok(hth_file_read(argv[1], 1 << 20, &tree, &bytes, &err));
	server_start(&s);
	s.tree = tree;
	snprintf(url, sizeof url, "http://127.0.0.1:%d", s.port);
	setenv("HF_ENDPOINT", url, 1);
	pid_t child = fork();
	if (child == 0) {
		execvp(argv[2], argv + 2);
		_exit(127);
	}
	assert_true(child > 0 && waitpid(child, &status, 0) == child);
	/* Without waiting for the server's threads: they hold nothing that outlives the process. */
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}
