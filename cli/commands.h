/* commands.h - the commands of `lathe`, and the table of them. */
#ifndef LATHE_CLI_COMMANDS_H
#define LATHE_CLI_COMMANDS_H
#include "cli/cli.h"

struct lathe_command {
    struct lathe_option_set set; /* set.command is "lathe " and the command's name */
    int (*run)(struct lathe_cli *cli);
};

extern const struct lathe_command lathe_cli_commands[];
extern const size_t lathe_cli_command_count;

/* Each runs with cli->options read, and returns the exit code. */
int lathe_command_serve(struct lathe_cli *cli);
int lathe_command_collection_create(struct lathe_cli *cli);
int lathe_command_collection_list(struct lathe_cli *cli);
int lathe_command_collection_describe(struct lathe_cli *cli);
int lathe_command_collection_drop(struct lathe_cli *cli);
int lathe_command_import(struct lathe_cli *cli);
int lathe_command_search(struct lathe_cli *cli);
int lathe_command_get(struct lathe_cli *cli);
int lathe_command_delete(struct lathe_cli *cli);
int lathe_command_count(struct lathe_cli *cli);
int lathe_command_info(struct lathe_cli *cli);
int lathe_command_version(struct lathe_cli *cli);
int lathe_command_help(struct lathe_cli *cli);
#endif
