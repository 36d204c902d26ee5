/* cli.c - what the commands share: output, failures, the connection. */
#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>

#include "cli/text_table.h"

int lathe_cli_print(struct lathe_cli *cli, const struct lathe_buf *text)
{
    struct lathe_error err = {0};

    if (text->failed)
        (void)lathe_fail(&err, LATHE_RESOURCE_EXHAUSTED, "no memory for the output");
    else if ((text->size == 0 || fwrite(text->data, 1, text->size, cli->out) == text->size) &&
             fflush(cli->out) == 0)
        return LATHE_EXIT_OK;
    else if (errno == EPIPE)
        return LATHE_EXIT_FAILED; /* the reader has seen enough, as in "lathe search ... | head" */
    else
        (void)lathe_fail(&err, LATHE_INTERNAL, "cannot write the output: %s", strerror(errno));
    return lathe_cli_fail(cli, &err);
}

int lathe_cli_fail(struct lathe_cli *cli, const struct lathe_error *err)
{
    bool has_field = err->field[0] != '\0' && strstr(err->message, err->field) == NULL;
    bool unreachable = err->status == LATHE_UNAVAILABLE;
    struct lathe_buf raw = {0}, text = {0};

    if (unreachable && cli->client != NULL)
        lathe_buf_printf(&raw, "the server at %s cannot be reached: ",
                         lathe_options_text(cli->options, "server"));
    lathe_buf_printf(&raw, "%s%s%s (%s)", has_field ? err->field : "", has_field ? ": " : "",
                     err->message, lathe_status_name(err->status));
    /* Parts of it may come from a file or a server that wants to play with the terminal. */
    lathe_text_clean(lathe_buf_view(&raw), &text);
    lathe_buf_u8(&text, 0);
    (void)fprintf(cli->err, "lathe: %s\n",
                  raw.failed || text.failed ? lathe_status_name(err->status)
                                            : (const char *)text.data);
    lathe_buf_fini(&raw);
    lathe_buf_fini(&text);
    return unreachable ? LATHE_EXIT_UNREACHABLE : LATHE_EXIT_FAILED;
}

int lathe_cli_usage(struct lathe_cli *cli, const char *format, ...)
{
    va_list args;

    (void)fputs("lathe: ", cli->err);
    va_start(args, format);
    (void)vfprintf(cli->err, format, args);
    va_end(args);
    (void)fputc('\n', cli->err);
    return LATHE_EXIT_USAGE;
}

enum lathe_status lathe_cli_connect(struct lathe_cli *cli, struct lathe_error *err)
{
    if (cli->client != NULL)
        return LATHE_OK;
    return lathe_client_open(lathe_options_text(cli->options, "server"), &cli->client, err);
}

enum lathe_status lathe_cli_call(struct lathe_cli *cli, const char *path,
                                 const ProtobufCMessage *request,
                                 const ProtobufCMessageDescriptor *reply_type, void *reply_out,
                                 struct lathe_error *err)
{
    uint32_t timeout_ms = (uint32_t)lathe_options_number(cli->options, "timeout");
    ProtobufCMessage *reply = NULL;
    enum lathe_status rc = lathe_cli_connect(cli, err);

    if (rc == LATHE_OK)
        rc = lathe_client_call(cli->client, path, request, reply_type, timeout_ms, &reply, err);
    if (rc == LATHE_OK)
        memcpy(reply_out, &reply, sizeof(reply)); /* a pointer to the message's own type */
    return rc;
}
