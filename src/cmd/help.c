/* --help for every verb, from its option table. */
#include "base/log.h"
#include "cmd/options.h"

#include <stdio.h>
#include <string.h>

#define HELP_COLUMN 34

void hth_help_all(void)
{
	printf("hearth %s: fine-tune, test, ship and serve a language model on your own machine\n\n"
	       "usage: hearth COMMAND [options]        hearth COMMAND --help        hearth --version\n\n",
	       HTH_VERSION);
	const struct hth_command *c;
	for (size_t i = 0; (c = hth_command_at(i)) != NULL; i++)
		printf("  %-12s %s\n", c->name, c->summary);
	printf("\nResults go to stdout, progress to stderr. Exit status: 0 done, 1 the work failed, 2 bad use.\n");
}

static void print_option(const struct hth_option *o)
{
	char left[96];
	bool takes_value = o->type != HTH_OPTION_SWITCH;
	const char *value = o->value != NULL ? o->value : o->choices != NULL ? o->choices : "VALUE";
	snprintf(left, sizeof left, "  --%s%s%s", o->flag, takes_value ? " " : "", takes_value ? value : "");
	printf("%-*s", HELP_COLUMN, left);
	if (strlen(left) >= HELP_COLUMN)
		printf("\n%-*s", HELP_COLUMN, "");
	printf("%s", o->help);
	if (o->choices != NULL && o->value != NULL)
		printf(" (%s)", o->choices);
	if (o->def != NULL && o->type != HTH_OPTION_SWITCH)
		printf(" [%s]", o->def);
	if (o->names != NULL)
		printf(" (also --%s)", o->names);
	printf("\n");
}

void hth_help_command(const struct hth_command *c)
{
	printf("hearth %s: %s\n\nusage: hearth %s %s\n", c->name, c->summary, c->name, c->usage);
	if (c->about != NULL)
		printf("\n%s\n", c->about);
	if (c->options[0].flag != NULL)
		printf("\noptions (default in brackets):\n");
	bool yaml = false;
	for (const struct hth_option *o = c->options; o->flag != NULL; o++) {
		yaml = yaml || o->yaml != NULL;
		if (o->type != HTH_OPTION_IGNORED && o->help != NULL)
			print_option(o);
	}
	printf("  --help\n");
	if (!yaml)
		return;
	printf("\nkeys of a config file and the option each sets:\n");
	for (const struct hth_option *o = c->options; o->flag != NULL; o++)
		if (o->yaml != NULL && o->type != HTH_OPTION_IGNORED)
			printf("  %-40s --%s\n", o->yaml, o->flag);
	printf("accepted from other tools' files, without effect:\n");
	for (const struct hth_option *o = c->options; o->flag != NULL; o++)
		if (o->yaml != NULL && o->type == HTH_OPTION_IGNORED)
			printf("  %-40s %s\n", o->yaml, o->help);
}
