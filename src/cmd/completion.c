/* hearth completion bash|zsh: a completion script made from the option tables. */
#include "cmd/options.h"

#include <stdio.h>
#include <string.h>

struct completion_options {
	int unused;
};

static const struct hth_option options[] = {{0}};

static void print_words(const struct hth_command *c)
{
	for (const struct hth_option *o = c->options; o->flag != NULL; o++)
		if (o->type != HTH_OPTION_IGNORED)
			printf(" --%s", o->flag);
	printf(" --help");
}

/* The choices of CHOICE options: `--schedule) words="constant linear cosine"`. */
static void print_choices(const struct hth_command *c)
{
	for (const struct hth_option *o = c->options; o->flag != NULL; o++) {
		if (o->type != HTH_OPTION_CHOICE)
			continue;
		printf("    %s:--%s) words='", c->name, o->flag);
		for (const char *p = o->choices; *p != '\0'; p++)
			putchar(*p == '|' ? ' ' : *p);
		printf("' ;;\n");
	}
}

static void print_bash(void)
{
	printf("# hearth completion for bash: source this file, or put it in bash-completion's folder\n"
	       "_hearth() {\n"
	       "  local cur=\"${COMP_WORDS[COMP_CWORD]}\" prev=\"${COMP_WORDS[COMP_CWORD-1]}\" "
	       "verb=\"${COMP_WORDS[1]}\" words=\n"
	       "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n    words='");
	const struct hth_command *c;
	for (size_t i = 0; (c = hth_command_at(i)) != NULL; i++)
		printf("%s%s", i > 0 ? " " : "", c->name);
	printf("'\n  else\n    case \"$verb:$prev\" in\n");
	for (size_t i = 0; (c = hth_command_at(i)) != NULL; i++)
		print_choices(c);
	/* A first argument that is a word ("check") is offered as choices are. */
	for (size_t i = 0; (c = hth_command_at(i)) != NULL; i++)
		if (c->words != NULL)
			printf("    %s:%s) case \"$cur\" in -*) ;; *) words='%s' ;; esac ;;\n", c->name, c->name,
			       c->words);
	printf("    esac\n    [ -n \"$words\" ] || case \"$verb\" in\n");
	for (size_t i = 0; (c = hth_command_at(i)) != NULL; i++) {
		printf("    %s) words='", c->name);
		print_words(c);
		printf("' ;;\n");
	}
	printf("    esac\n  fi\n"
	       "  case \"$cur\" in\n"
	       "  -*) COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")) ;;\n"
	       "  *) case \"$words\" in *--*) COMPREPLY=($(compgen -f -- \"$cur\")) ;;"
	       " *) COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")) ;; esac ;;\n"
	       "  esac\n}\ncomplete -o filenames -F _hearth hearth\n");
}

/* Single quotes and brackets would end a zsh specification early. */
static void print_zsh_text(const char *s)
{
	for (; *s != '\0'; s++) {
		if (*s == '\'')
			fputs("'\\''", stdout);
		else if (*s == '[' || *s == ']' || *s == ':')
			printf("\\%c", *s);
		else
			putchar(*s);
	}
}

static void print_zsh(void)
{
	printf("#compdef hearth\n# hearth completion for zsh: put this file in a folder of $fpath as _hearth\n"
	       "_hearth() {\n  local -a verbs\n  verbs=(\n");
	const struct hth_command *c;
	for (size_t i = 0; (c = hth_command_at(i)) != NULL; i++) {
		printf("    '%s:", c->name);
		print_zsh_text(c->summary);
		printf("'\n");
	}
	printf("  )\n  if (( CURRENT == 2 )); then _describe command verbs; return; fi\n  case $words[2] in\n");
	for (size_t i = 0; (c = hth_command_at(i)) != NULL; i++) {
		printf("  %s) _arguments", c->name);
		for (const struct hth_option *o = c->options; o->flag != NULL; o++) {
			if (o->type == HTH_OPTION_IGNORED)
				continue;
			printf(" \\\n    '--%s[", o->flag);
			print_zsh_text(o->help);
			printf("]");
			if (o->type == HTH_OPTION_CHOICE) {
				printf(":value:(");
				for (const char *p = o->choices; *p != '\0'; p++)
					putchar(*p == '|' ? ' ' : *p);
				printf(")");
			} else if (o->type != HTH_OPTION_SWITCH) {
				printf(":value:_files");
			}
			printf("'");
		}
		if (c->words != NULL)
			printf(" \\\n    '1:action:(%s)'", c->words);
		printf(" \\\n    '*:file:_files' ;;\n");
	}
	printf("  esac\n}\n_hearth \"$@\"\n");
}

static enum hth_status run(struct hth_cli *cli, struct hth_err *err)
{
	if (strcmp(cli->args[0], "bash") == 0)
		print_bash();
	else if (strcmp(cli->args[0], "zsh") == 0)
		print_zsh();
	else
		return hth_fail(err, HTH_ERR_USAGE, "hearth completion: found \"%s\", expected bash or zsh",
				cli->args[0]);
	return HTH_OK;
}

const struct hth_command hth_command_completion = {
	.name = "completion",
	.usage = "bash|zsh",
	.summary = "a completion script for the shell",
	.about = "  source <(hearth completion bash)\n  hearth completion zsh > ~/.zfunc/_hearth",
	.options = options,
	.config_bytes = sizeof(struct completion_options),
	.words = "bash zsh",
	.min_args = 1,
	.max_args = 1,
	.run = run,
};
