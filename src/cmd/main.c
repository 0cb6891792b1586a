/* The program: finds the verb, parses its options, runs it, and turns a status into an exit code. */
#include "base/log.h"
#include "cmd/options.h"
#include "base/num.h"
#include "cmd/version.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

/* A full disk or a closed pipe behind stdout is a failure too. */
static bool flushed(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return true;
	hth_error("stdout: could not be written");
	return false;
}

static int unknown_verb(const char *verb)
{
	const char *known[64];
	size_t n = 0;
	for (const struct hth_command *c; n < 64 && (c = hth_command_at(n)) != NULL; n++)
		known[n] = c->name;
	const char *near = hth_nearest(verb, known, n);
	char shown[64];
	hth_quote(shown, sizeof shown, verb, strlen(verb));
	if (near != NULL)
		hth_error("hearth %s: no such command; did you mean hearth %s?", shown, near);
	else
		hth_error("hearth %s: no such command; hearth --help lists them", shown);
	return 2;
}

static int run_command(const struct hth_command *c, int argc, char **argv)
{
	struct hth_err err = {0};
	struct hth_cli cli;
	enum hth_status s = hth_cli_parse(&cli, c, argc, argv, &err);
	if (s == HTH_OK && cli.help)
		hth_help_command(c);
	else if (s == HTH_OK)
		s = c->run(&cli, &err);
	if (s != HTH_OK)
		hth_error("%s", err.text);
	hth_cli_clear(&cli);
	return s == HTH_OK && !flushed() ? 1 : hth_exit_code(s);
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN); /* a reader that left is a write error, not a death */
	if (argc < 2) {
		hth_help_all();
		return 2;
	}
	const char *verb = argv[1];
	if (strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0 || strcmp(verb, "help") == 0) {
		const struct hth_command *c = argc > 2 ? hth_command_find(argv[2]) : NULL;
		if (c != NULL)
			hth_help_command(c);
		else
			hth_help_all();
		return flushed() ? 0 : 1;
	}
	if (strcmp(verb, "--version") == 0 || strcmp(verb, "version") == 0) {
		hth_version_print();
		return flushed() ? 0 : 1;
	}
	const struct hth_command *c = hth_command_find(verb);
	return c != NULL ? run_command(c, argc - 2, argv + 2) : unknown_verb(verb);
}
