/* dispatch.c - see dispatch.h; and `lathe help`, which tells of all the commands. */
#include "cli/dispatch.h"

#include "cli/commands.h"
#include "common/base/hash.h"

enum { PROGRAM_WORD = sizeof("lathe ") - 1 };

static const char exit_codes[] =
    "Exit codes: 0 done, 1 the operation failed, 2 the command line or configuration is wrong,\n"
    "3 the server cannot be reached.\n";

static const char precedence[] =
    "An option is taken from its flag, else from its environment variable, else from the\n"
    "configuration file (of \"lathe serve\"), else it has its default.\n";

static const char *name_of(const struct lathe_command *command)
{
    return command->set.command + PROGRAM_WORD;
}

/* Appends "  name    summary" of every command whose name begins with `prefix`. */
static void append_commands(const char *prefix, struct lathe_buf *out)
{
    for (size_t i = 0; i < lathe_cli_command_count; i++) {
        const char *name = name_of(&lathe_cli_commands[i]);

        if (strncmp(name, prefix, strlen(prefix)) == 0)
            lathe_buf_printf(out, "  %-22s%s\n", name, lathe_cli_commands[i].set.summary);
    }
}

static void append_overview(const char *prefix, struct lathe_buf *out)
{
    lathe_buf_printf(out, "Usage: lathe %sCOMMAND [options]\n\n", prefix);
    if (prefix[0] == '\0')
        lathe_buf_text(out, "Lathe " LATHE_VERSION ", exact vector search.\n\n");
    lathe_buf_text(out, "Commands:\n");
    append_commands(prefix, out);
    lathe_buf_text(out, "\n\"lathe help COMMAND\" or \"lathe COMMAND --help\" tells more.\n");
    lathe_buf_text(out, precedence);
    lathe_buf_text(out, exit_codes);
}

/* `asked`: help is the result; else it goes where errors go, and the call was a wrong one. */
static int print_overview(struct lathe_cli *cli, const char *prefix, bool asked)
{
    struct lathe_buf text = {0};
    int code;

    if (!asked)
        cli->out = cli->err;
    append_overview(prefix, &text);
    code = lathe_cli_print(cli, &text);
    lathe_buf_fini(&text);
    return code == LATHE_EXIT_OK && !asked ? LATHE_EXIT_USAGE : code;
}

static int print_help(struct lathe_cli *cli, const struct lathe_command *command)
{
    struct lathe_buf text = {0};
    int code;

    lathe_options_help(&command->set, &text);
    lathe_buf_printf(&text, "\n%s", exit_codes);
    code = lathe_cli_print(cli, &text);
    lathe_buf_fini(&text);
    return code;
}

static int print_markdown(struct lathe_cli *cli)
{
    struct lathe_buf text = {0};
    int code;

    for (size_t i = 0; i < lathe_cli_command_count; i++)
        lathe_options_markdown(&lathe_cli_commands[i].set, &text);
    code = lathe_cli_print(cli, &text);
    lathe_buf_fini(&text);
    return code;
}

/* The command that the first words name, two words before one; *words_out: how many it took. */
static const struct lathe_command *command_find(const char *const *words, size_t count,
                                                size_t *words_out)
{
    for (size_t take = count < 2 ? count : 2; take > 0; take--) {
        for (size_t i = 0; i < lathe_cli_command_count; i++) {
            const char *name = name_of(&lathe_cli_commands[i]);
            size_t size = strlen(words[0]);

            if (strncmp(name, words[0], size) != 0)
                continue;
            if (take == 1 ? name[size] == '\0'
                          : name[size] == ' ' && strcmp(name + size + 1, words[1]) == 0) {
                *words_out = take;
                return &lathe_cli_commands[i];
            }
        }
    }
    return NULL;
}

/* "collection" alone is no command, but the beginning of several. */
static bool is_group(const char *word)
{
    size_t size = strlen(word);

    for (size_t i = 0; i < lathe_cli_command_count; i++)
        if (strncmp(name_of(&lathe_cli_commands[i]), word, size) == 0 &&
            name_of(&lathe_cli_commands[i])[size] == ' ')
            return true;
    return false;
}

/* What is said when the words name no command: help where it was asked for, else a usage error. */
static int no_command(struct lathe_cli *cli, const char *const *words, size_t count, bool help)
{
    bool named = count > 0 && words[0][0] != '-';
    char prefix[64] = "";

    if (named && is_group(words[0])) {
        if (count > 1 && words[1][0] != '-')
            return lathe_cli_usage(cli, "unknown command \"%s %s\"; \"lathe help %s\" lists them",
                                   words[0], words[1], words[0]);
        (void)snprintf(prefix, sizeof(prefix), "%s ", words[0]);
    } else if (named) {
        return lathe_cli_usage(cli, "unknown command \"%s\"; \"lathe help\" lists them", words[0]);
    } else if (count > 0 && !help) {
        return lathe_cli_usage(cli, "a command must come before %s; \"lathe help\" lists them",
                               words[0]);
    }
    return print_overview(cli, prefix, help);
}

int lathe_command_help(struct lathe_cli *cli)
{
    const char *words[2];
    size_t count = lathe_options_count(cli->options, "command");
    const struct lathe_command *command = NULL;
    size_t taken = 0;

    if (lathe_options_bool(cli->options, "markdown"))
        return print_markdown(cli);
    for (size_t i = 0; i < count && i < 2; i++)
        words[i] = lathe_options_text_at(cli->options, "command", i);
    if (count > 0)
        command = command_find(words, count < 2 ? count : 2, &taken);
    if (command != NULL && taken == count)
        return print_help(cli, command);
    return no_command(cli, words, count < 2 ? count : 2, true);
}

static int command_run(struct lathe_cli *cli, const struct lathe_command *command,
                       const struct lathe_option_sources *sources)
{
    struct lathe_options *options = NULL;
    struct lathe_error err = {0};
    int code;

    if (lathe_options_want_help(sources))
        return print_help(cli, command);
    if (lathe_options_create(&command->set, sources, &options, &err) != LATHE_OK)
        return lathe_cli_usage(cli, "%s\nlathe: \"%s --help\" tells more", err.message,
                               command->set.command);
    cli->options = options;
    code = command->run(cli);
    lathe_client_close(&cli->client);
    cli->options = NULL;
    lathe_options_destroy(options);
    return code;
}

int lathe_cli_run(struct lathe_cli *cli, int argc, const char *const *argv)
{
    const char *const *words = argv + 1;
    size_t count = argc > 1 ? (size_t)argc - 1 : 0;
    const struct lathe_command *command;
    struct lathe_option_sources sources = {.environment = cli->environment};
    size_t taken = 0;

    if (!lathe_hash_init()) {
        (void)fprintf(cli->err, "lathe: the system gives no random bytes\n");
        return LATHE_EXIT_FAILED;
    }
    if (count > 0 && strcmp(words[0], "--version") == 0)
        return lathe_command_version(cli);
    command = command_find(words, count, &taken);
    sources.arguments = words;
    sources.argument_count = count;
    if (command == NULL)
        return no_command(cli, words, count, lathe_options_want_help(&sources));
    sources.arguments = words + taken;
    sources.argument_count = count - taken;
    return command_run(cli, command, &sources);
}
