/* Declares every command of list.h. */
#ifndef HTH_CMD_COMMANDS_H
#define HTH_CMD_COMMANDS_H

#include "cmd/options.h"

#define HTH_COMMAND(name) extern const struct hth_command hth_command_##name;
#include "cmd/list.h"
#undef HTH_COMMAND

#endif
